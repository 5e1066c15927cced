import { sql } from 'drizzle-orm'
import { apiTokens, installation, maintenanceState, sessions, users } from '../../../drizzle/schema.ts'
import { createToken } from '../../domain/accounts/tokens.ts'
import type { AuditLog } from '../../domain/audit/log.ts'
import type { Db } from '../../domain/base/db.ts'
import type { Descriptor } from './manifest.ts'

export interface Closing {
  readonly sessions: number
  readonly tokens: number
  /** Jobs that had not ended. They become dead jobs, which operators can inspect and retry. */
  readonly jobs: number
  /** A new operator token, since no old one is valid; null if there is no operator. */
  readonly operatorToken: string | null
}

const MESSAGE = 'Restored from a backup; an operator opens the platform again.'

/**
 * Makes restored data safe to start a server on: maintenance mode is on, nobody is signed in, and no work starts by
 * itself. What happened between the backup and now is unknown, and the audit log says so.
 */
export async function closeRestored(
  tx: Db,
  log: AuditLog,
  backup: Pick<Descriptor, 'id' | 'takenAt' | 'release' | 'installation'>,
  by: string,
  hasJobs: boolean
): Promise<Closing> {
  const endedSessions = await tx.delete(sessions).returning({ id: sessions.id })
  const revoked = await tx
    .update(apiTokens)
    .set({ revokedAt: sql`now()` })
    .where(sql`${apiTokens.revokedAt} is null`)
    .returning({ id: apiTokens.id })
  const jobs = hasJobs ? await holdJobs(tx, backup.id) : 0
  await tx
    .insert(maintenanceState)
    .values({ enabled: true, message: MESSAGE, since: sql`now()`, changedBy: by })
    .onConflictDoUpdate({
      target: maintenanceState.id,
      set: { enabled: true, message: MESSAGE, until: null, since: sql`now()`, changedBy: by }
    })
  await tx.insert(installation).values({ identity: backup.installation }).onConflictDoNothing()
  const operatorToken = await issueOperatorToken(tx)
  const restoredAt = new Date().toISOString()
  const ended = { sessions: endedSessions.length, tokens: revoked.length, jobs }
  await log.write(tx, {
    eventType: 'admin',
    action: 'restore',
    actor: by,
    resource: 'backup',
    resourceId: backup.id,
    details: { from: backup.takenAt, to: restoredAt, release: backup.release, ...ended }
  })
  return { ...ended, operatorToken }
}

async function holdJobs(tx: Db, backupId: string): Promise<number> {
  const reason = JSON.stringify({ message: `held by the restore of backup ${backupId}: retry it to have it done` })
  const held = await tx.execute(sql`
    update pgboss.job set state = 'failed', completed_on = now(), output = ${reason}::text::jsonb
    where state < 'completed' returning id`)
  return held.length
}

async function issueOperatorToken(tx: Db): Promise<string | null> {
  const [operator] = await tx
    .select({ id: users.id })
    .from(users)
    .where(sql`${users.isAdmin} and ${users.eraseAfter} is null`)
    .orderBy(users.createdAt)
    .limit(1)
  if (operator === undefined) return null
  const { token } = await createToken(tx, {
    userId: operator.id,
    name: 'after a restore',
    scopes: ['read', 'deploy', 'admin']
  })
  return token
}
