import { createHmac, hkdfSync } from 'node:crypto'
import { and, eq, inArray, min, ne, sql } from 'drizzle-orm'
import { secretLedger } from '../../../drizzle/schema.ts'
import type { AuditLog } from '../audit/log.ts'
import type { Db } from '../base/db.ts'
import type { Keyring } from '../base/secret-box.ts'

/** A secret in the server's own configuration. */
export interface ServerSecret {
  /** The variable that holds it. */
  readonly name: string
  /** Days after which it should be replaced. */
  readonly schedule: number
  /** The current value; null if not configured. */
  readonly value: string | null
  /** For a keyring: the ids of its keys, newest first. */
  readonly keyIds?: readonly string[]
}

export interface SecretAge {
  readonly name: string
  readonly isConfigured: boolean
  readonly keyIds: readonly string[]
  readonly since: Date | null
  readonly ageDays: number | null
  readonly scheduleDays: number
  readonly state: 'ok' | 'due' | 'overdue' | 'not configured'
}

const DAY = 24 * 60 * 60 * 1_000
/** Days before the end of its schedule at which a secret is due. */
const NOTICE = 14

/**
 * Records which secrets are in use, and since when. They are identified by a hash under a key that is not in the
 * database, so that weak passwords cannot be searched for there. A changed secret is an audit event.
 *
 * @param ring all of its keys are tried to recognise earlier hashes
 * @param actor what brought the secrets here, for the audit log
 */
export async function noteSecrets(
  db: Db,
  log: AuditLog,
  ring: Keyring,
  secrets: readonly ServerSecret[],
  actor: string
): Promise<void> {
  for (const { name, value } of secrets) if (value !== null) await noteSecret({ db, log, ring, actor }, name, value)
}

interface Noting {
  readonly db: Db
  readonly log: AuditLog
  readonly ring: Keyring
  readonly actor: string
}

function noteSecret({ db, log, ring, actor }: Noting, name: string, value: string): Promise<void> {
  const prints = fingerprintsOf(ring, name, value)
  const fingerprint = prints[0]!
  return db.transaction(async tx => {
    const since = await firstSeen(tx, name, prints)
    const [added] = await tx
      .insert(secretLedger)
      .values({ name, fingerprint, ...(since !== null && { firstSeenAt: since }) })
      .onConflictDoNothing()
      .returning({ name: secretLedger.name })
    if (added === undefined || since !== null || !(await hasOthers(tx, name, fingerprint))) return
    const event = { eventType: 'admin', action: 'rotate', actor, resource: 'secret' } as const
    await log.write(tx, { ...event, resourceName: name })
  })
}

/** The age of each secret, and whether it is due for replacement. */
export async function readSecretAges(
  db: Db,
  ring: Keyring,
  secrets: readonly ServerSecret[],
  now = new Date()
): Promise<SecretAge[]> {
  return Promise.all(
    secrets.map(async ({ name, schedule, value, keyIds = [] }) => {
      const since = value === null ? null : await firstSeen(db, name, fingerprintsOf(ring, name, value))
      const ageDays = since && Math.max(0, Math.floor((now.getTime() - since.getTime()) / DAY))
      const state = value === null ? 'not configured' : stateAt(ageDays ?? 0, schedule)
      return { name, isConfigured: value !== null, keyIds, since, ageDays, scheduleDays: schedule, state }
    })
  )
}

function stateAt(ageDays: number, schedule: number): 'ok' | 'due' | 'overdue' {
  if (ageDays >= schedule) return 'overdue'
  return ageDays >= schedule - NOTICE ? 'due' : 'ok'
}

async function firstSeen(db: Db, name: string, prints: readonly string[]): Promise<Date | null> {
  const [row] = await db
    .select({ since: min(secretLedger.firstSeenAt) })
    .from(secretLedger)
    .where(and(eq(secretLedger.name, name), inArray(secretLedger.fingerprint, [...prints])))
  return row?.since ?? null
}

async function hasOthers(db: Db, name: string, fingerprint: string): Promise<boolean> {
  const [other] = await db
    .select({ one: sql`1` })
    .from(secretLedger)
    .where(and(eq(secretLedger.name, name), ne(secretLedger.fingerprint, fingerprint)))
    .limit(1)
  return other !== undefined
}

/**
 * The fingerprints of a secret under each key of the ring, newest key first. They reveal nothing about even a weak
 * secret to anyone without these keys.
 */
export function fingerprintsOf(ring: Keyring, name: string, value: string): string[] {
  const { current, keys } = ring
  const older = [...keys.values()].filter(key => key !== current.key)
  return [current.key, ...older].map(key => {
    const own = Buffer.from(hkdfSync('sha256', key, '', 'rhone secret ledger', 32))
    return createHmac('sha256', own).update(`${name}\0${value}`).digest('hex')
  })
}
