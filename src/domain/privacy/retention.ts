import { and, asc, eq, gte, lt, lte, max, type SQL, sql } from 'drizzle-orm'
import { auditCheckpoints, auditSeals } from '../../../drizzle/schema.ts'
import type { AuditKeys } from '../audit/keys.ts'
import { lockChain, writeCheckpoint } from '../audit/seal.ts'
import type { Db } from '../base/db.ts'
import { listPartitions } from '../base/partitions.ts'

/** For how many days what is over is kept; docs/privacy.md says why. */
export const RETENTION_DAYS = {
  appLogs: 7,
  audit: 400,
  buildLogs: 90,
  errors: 30,
  failures: 1,
  invitations: 30,
  tokens: 90,
  usage: 7 * 365,
  webhookDeliveries: 30
} as const

const BATCH = 1_000
const DAY = 24 * 60 * 60 * 1000

const before = (now: Date, days: number) => new Date(now.getTime() - days * DAY)

/** What is deleted row by row, and when a row of it is old. */
function sweeps(now: Date): { table: SQL; isOld: SQL }[] {
  const cutoff = (days: number) => sql`${before(now, days).toISOString()}::timestamptz`
  const { appLogs, buildLogs, errors, failures, invitations, tokens, usage, webhookDeliveries } = RETENTION_DAYS
  return [
    { table: sql`error_events`, isOld: sql`hour < ${cutoff(errors)}` },
    {
      table: sql`team_invitations`,
      isOld: sql`expires_at < ${cutoff(invitations)} or least(accepted_at, revoked_at) < ${cutoff(invitations)}`
    },
    { table: sql`sessions`, isOld: sql`least(idle_until, expires_at) < now()` },
    { table: sql`sign_in_failures`, isOld: sql`last_at < ${cutoff(failures)}` },
    { table: sql`spent_sign_ins`, isOld: sql`expires_at < now()` },
    { table: sql`api_tokens`, isOld: sql`least(revoked_at, expires_at) < ${cutoff(tokens)}` },
    { table: sql`usage_records`, isOld: sql`recorded_at < ${cutoff(usage)}` },
    { table: sql`webhook_deliveries`, isOld: sql`received_at < ${cutoff(webhookDeliveries)}` },
    { table: sql`build_log_chunks`, isOld: sql`created_at < ${cutoff(buildLogs)}` },
    { table: sql`app_logs`, isOld: sql`at < ${cutoff(appLogs)}` }
  ]
}

/**
 * Deletes what nobody needs any more, a little at a time, so that no statement holds many rows for long. However often it
 * is cut off, the next one goes on.
 */
export async function sweep(db: Db, signal: AbortSignal, now = new Date()): Promise<number> {
  let total = 0
  for (const { table, isOld } of sweeps(now))
    for (let removed = BATCH; removed === BATCH && !signal.aborted; total += removed)
      removed = await deleteSome(db, table, isOld)
  return total
}

async function deleteSome(db: Db, table: SQL, isOld: SQL): Promise<number> {
  const rows = await db.execute(
    sql`delete from ${table} where ctid in (select ctid from ${table} where ${isOld} limit ${BATCH}) returning 1`
  )
  return rows.length
}

/**
 * Removes the months of the audit log that are over for longer than its retention, whole partitions at a time. Before
 * that, the chain is told: a signed checkpoint says from when on rows are kept, and the links before it go.
 *
 * @returns the names of the partitions
 */
export async function retireAudit(db: Db, keys: AuditKeys, now = new Date()): Promise<string[]> {
  const cutoff = before(now, RETENTION_DAYS.audit)
  const old = (await listPartitions(db)).filter(({ ends }) => ends <= cutoff)
  const newest = old.at(-1)
  if (newest === undefined) return []
  await db.transaction(async tx => {
    await lockChain(tx)
    await cutChain(tx, keys, newest.ends)
    for (const { name } of old) await tx.execute(sql`drop table ${sql.identifier(name)}`)
    // Rows of months that had no partition. After this, every row before the cut is one that somebody has put back.
    await tx.execute(sql`set local rhone.audit_purge = 'on'`)
    await tx.execute(sql`delete from audit_logs_other where created_at < ${newest.ends.toISOString()}::timestamptz`)
  })
  return old.map(({ name }) => name)
}

/** The links up to the first one of a row that is kept; some of rows that go may stand behind it, and stay. */
async function cutChain(tx: Db, keys: AuditKeys, retainedFrom: Date): Promise<void> {
  const [kept] = await tx
    .select({ seq: auditSeals.seq })
    .from(auditSeals)
    .where(gte(auditSeals.rowCreatedAt, retainedFrom))
    .orderBy(asc(auditSeals.seq))
    .limit(1)
  const [end] = await tx
    .select({ seq: max(auditSeals.seq) })
    .from(auditSeals)
    .where(and(lt(auditSeals.rowCreatedAt, retainedFrom), kept && lt(auditSeals.seq, kept.seq)))
  if (end?.seq == null) return
  const [last] = await tx.select().from(auditSeals).where(eq(auditSeals.seq, end.seq))
  await writeCheckpoint(tx, keys, { seq: last!.seq, digest: last!.digest, retainedFrom })
  await tx.delete(auditSeals).where(lte(auditSeals.seq, last!.seq))
  await tx.delete(auditCheckpoints).where(lt(auditCheckpoints.seq, last!.seq))
}
