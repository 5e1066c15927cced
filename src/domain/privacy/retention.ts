import { and, asc, eq, gte, lt, lte, max, type SQL, sql } from 'drizzle-orm'
import { auditCheckpoints, auditSeals } from '../../../drizzle/schema.ts'
import type { AuditKeys } from '../audit/keys.ts'
import { lockChain, renewRetentionCheckpoint, writeCheckpoint } from '../audit/seal.ts'
import type { Db } from '../base/db.ts'
import { listPartitions } from '../base/partitions.ts'

/** Days for which data is kept; docs/privacy.md gives the reasons. */
export const RETENTION_DAYS = {
  appLogs: 7,
  audit: 400,
  buildLogs: 90,
  errors: 30,
  failures: 1,
  incidents: 400,
  invitations: 30,
  sources: 30,
  statusHistory: 90,
  tokens: 90,
  usage: 7 * 365,
  webhookDeliveries: 30
} as const

const BATCH = 1_000
const DAY = 24 * 60 * 60 * 1000

const before = (now: Date, days: number) => new Date(now.getTime() - days * DAY)

/** The tables that are swept row by row, with the condition for old rows. */
function sweeps(now: Date): { table: SQL; isOld: SQL }[] {
  const cutoff = (days: number) => sql`${before(now, days).toISOString()}::timestamptz`
  const { appLogs, buildLogs, errors, failures, incidents, invitations, sources, statusHistory } = RETENTION_DAYS
  const { tokens, usage, webhookDeliveries } = RETENTION_DAYS
  return [
    { table: sql`error_events`, isOld: sql`hour < ${cutoff(errors)}` },
    {
      table: sql`team_invitations`,
      isOld: sql`expires_at < ${cutoff(invitations)} or least(accepted_at, revoked_at) < ${cutoff(invitations)}`
    },
    { table: sql`sessions`, isOld: sql`least(idle_until, expires_at) < now()` },
    { table: sql`sign_in_failures`, isOld: sql`last_at < ${cutoff(failures)}` },
    { table: sql`spent_sign_ins`, isOld: sql`expires_at < now()` },
    { table: sql`device_logins`, isOld: sql`expires_at < now()` },
    { table: sql`api_tokens`, isOld: sql`least(revoked_at, expires_at) < ${cutoff(tokens)}` },
    // Their chunks are deleted with them. Archives of active deployments are younger.
    { table: sql`source_archives`, isOld: sql`created_at < ${cutoff(sources)}` },
    { table: sql`usage_records`, isOld: sql`recorded_at < ${cutoff(usage)}` },
    { table: sql`webhook_deliveries`, isOld: sql`received_at < ${cutoff(webhookDeliveries)}` },
    { table: sql`build_log_chunks`, isOld: sql`created_at < ${cutoff(buildLogs)}` },
    { table: sql`incidents`, isOld: sql`closed_at < ${cutoff(incidents)}` },
    { table: sql`status_days`, isOld: sql`day < (${cutoff(statusHistory)} at time zone 'UTC')::date` },
    { table: sql`app_logs`, isOld: sql`at < ${cutoff(appLogs)}` }
  ]
}

/**
 * Deletes old rows in small batches, so that no statement holds many locks for long. An interrupted run is continued by
 * the next one.
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
 * Drops the monthly partitions of the audit log that are past retention. First it cuts the chain: a signed checkpoint
 * states the instant from which rows are kept, and earlier links are deleted.
 *
 * @returns the names of the dropped partitions
 */
export async function retireAudit(db: Db, keys: AuditKeys, now = new Date()): Promise<string[]> {
  const cutoff = before(now, RETENTION_DAYS.audit)
  const old = (await listPartitions(db)).filter(({ ends }) => ends <= cutoff)
  const newest = old.at(-1)
  await renewRetentionCheckpoint(db, keys)
  if (newest === undefined) return []
  await db.transaction(async tx => {
    await lockChain(tx)
    await cutChain(tx, keys, newest.ends)
    for (const { name } of old) await tx.execute(sql`drop table ${sql.identifier(name)}`)
    // Rows of months without a partition. After this, any row before the cut was put back by an attacker.
    await tx.execute(sql`set local rhone.audit_purge = 'on'`)
    await tx.execute(sql`delete from audit_logs_other where created_at < ${newest.ends.toISOString()}::timestamptz`)
  })
  return old.map(({ name }) => name)
}

/** Deletes the links before the first one of a kept row. Later links of dropped rows stay. */
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
