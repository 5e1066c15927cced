import { and, desc, eq, gte, lt, type SQL } from 'drizzle-orm'
import { type AuditOutcome, type AuditType, auditLogs } from '../../drizzle/schema.ts'
import type { Db } from './db.ts'
import { afterCursor, DEFAULT_LIMIT, microseconds, type PageRequest, toPage } from './page.ts'

export type AuditRow = typeof auditLogs.$inferInsert

/** Writes one row, in the transaction of what it tells of: if it cannot be written, that does not happen either. */
export async function insertAudit(db: Db, row: AuditRow): Promise<void> {
  await db.insert(auditLogs).values(row)
}

/** Writes rows that carry their ids; a batch that is tried again leaves no row twice. */
export async function insertAuditBatch(db: Db, rows: readonly AuditRow[]): Promise<void> {
  await db
    .insert(auditLogs)
    .values([...rows])
    .onConflictDoNothing()
}

/** Where the audit plugin writes: `write` in a transaction of its caller's, `writeMany` on its own. */
export function auditSink(db: () => Db) {
  return { write: insertAudit, writeMany: (rows: readonly AuditRow[]) => insertAuditBatch(db(), rows) }
}

export interface AuditFilters {
  type?: AuditType
  action?: string
  outcome?: AuditOutcome
  userId?: string
  actor?: string
  teamId?: string
  appId?: string
  /** From this instant on. */
  since?: Date
  /** Before this instant. */
  until?: Date
}

const fields = {
  id: auditLogs.id,
  type: auditLogs.eventType,
  action: auditLogs.action,
  outcome: auditLogs.outcome,
  userId: auditLogs.userId,
  actor: auditLogs.actor,
  teamId: auditLogs.teamId,
  appId: auditLogs.appId,
  resource: auditLogs.resource,
  resourceId: auditLogs.resourceId,
  resourceName: auditLogs.resourceName,
  details: auditLogs.details,
  ip: auditLogs.ip,
  userAgent: auditLogs.userAgent,
  requestId: auditLogs.requestId,
  createdAt: auditLogs.createdAt
}

/** What happened, newest first. */
export async function listAudit(db: Db, filters: AuditFilters, { limit = DEFAULT_LIMIT, cursor }: PageRequest) {
  const rows = await db
    .select({ ...fields, at: microseconds(auditLogs.createdAt) })
    .from(auditLogs)
    .where(and(...conditions(filters), afterCursor(auditLogs, cursor)))
    .orderBy(desc(auditLogs.createdAt), desc(auditLogs.id))
    .limit(limit + 1)
  return toPage(rows, limit)
}

function conditions({ type, action, outcome, userId, actor, teamId, appId, since, until }: AuditFilters) {
  return [
    type && eq(auditLogs.eventType, type),
    action && eq(auditLogs.action, action),
    outcome && eq(auditLogs.outcome, outcome),
    userId && eq(auditLogs.userId, userId),
    actor && eq(auditLogs.actor, actor),
    teamId && eq(auditLogs.teamId, teamId),
    appId && eq(auditLogs.appId, appId),
    since && gte(auditLogs.createdAt, since),
    until && lt(auditLogs.createdAt, until)
  ].filter((condition): condition is SQL => condition instanceof Object)
}
