import { and, asc, desc, eq, gte, lt, type SQL, sql } from 'drizzle-orm'
import { type AuditOutcome, type AuditType, auditLogs, auditWords } from '../../../drizzle/schema.ts'
import { type Db, plannedByValues } from '../base/db.ts'
import { afterCursor, DEFAULT_LIMIT, microseconds, type PageRequest, toPage } from '../base/page.ts'

export interface AuditFilters {
  type?: AuditType
  action?: string
  outcome?: AuditOutcome
  userId?: string
  actor?: string
  teamId?: string
  appId?: string
  resource?: string
  /** The id of the action's target. */
  resourceId?: string
  /** The client's address. */
  ip?: string
  /** Words or prefixes of words, all of which must occur in the names and details of the row. */
  text?: string
  /** Inclusive. */
  since?: Date
  /** Exclusive. */
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

/** The events that match, newest first. */
export async function listAudit(db: Db, filters: AuditFilters, { limit = DEFAULT_LIMIT, cursor }: PageRequest) {
  const rows = await search(db, filters, reader =>
    reader
      .select({ ...fields, at: microseconds(auditLogs.createdAt) })
      .from(auditLogs)
      .where(and(...conditions(filters), afterCursor(auditLogs, cursor)))
      .orderBy(desc(auditLogs.createdAt), desc(auditLogs.id))
      .limit(limit + 1)
  )
  return toPage(rows, limit)
}

/**
 * All matching events, oldest first, in batches, including those that are written while it reads.
 */
export async function* readAudit(db: Db, filters: AuditFilters, batchSize = 500): AsyncGenerator<AuditEntry[]> {
  let last: { at: string; id: string } | undefined
  for (;;) {
    const isNext = last && isNewer(last)
    const rows = await search(db, filters, reader =>
      reader
        .select({ ...fields, at: microseconds(auditLogs.createdAt) })
        .from(auditLogs)
        .where(and(...conditions(filters), isNext))
        .orderBy(asc(auditLogs.createdAt), asc(auditLogs.id))
        .limit(batchSize)
    )
    if (rows.length > 0) yield rows.map(({ at: _, ...row }) => row)
    if (rows.length < batchSize) return
    last = rows.at(-1)
  }
}

/** Every filter except the words has an index in order of time, so one plan suits all values. */
function search<Row>(db: Db, { text }: AuditFilters, read: (db: Db) => PromiseLike<Row[]>): PromiseLike<Row[]> {
  return text ? plannedByValues(db, async tx => read(tx)) : read(db)
}

export type AuditEntry = Awaited<ReturnType<typeof listAudit>>['items'][number]

function isNewer({ at, id }: { at: string; id: string }): SQL {
  return sql`(${auditLogs.createdAt}, ${auditLogs.id}) > (timestamptz 'epoch' + ${at}::bigint * interval '1 microsecond', ${id}::uuid)`
}

function conditions(filters: AuditFilters) {
  const { type, action, outcome, userId, actor, teamId, appId, resource, resourceId, ip, text, since, until } = filters
  return [
    type && eq(auditLogs.eventType, type),
    action && eq(auditLogs.action, action),
    outcome && eq(auditLogs.outcome, outcome),
    userId && eq(auditLogs.userId, userId),
    actor && eq(auditLogs.actor, actor),
    teamId && eq(auditLogs.teamId, teamId),
    appId && eq(auditLogs.appId, appId),
    resource && eq(auditLogs.resource, resource),
    resourceId && eq(auditLogs.resourceId, resourceId),
    ip && eq(auditLogs.ip, ip),
    text && hasWords(text),
    since && gte(auditLogs.createdAt, since),
    until && lt(auditLogs.createdAt, until)
  ].filter((condition): condition is SQL => condition instanceof Object)
}

/** Splits the text as `audit_words` does. A text without letters and digits matches nothing. */
function hasWords(text: string): SQL {
  const words = text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []
  if (words.length === 0) return sql`false`
  return sql`${auditWords(auditLogs)} @@ ${words.map(word => `'${word}':*`).join(' & ')}::tsquery`
}
