import { randomUUID } from 'node:crypto'
import { type SQL, sql } from 'drizzle-orm'
import { auditLogs } from '../../../drizzle/schema.ts'
import { commitWithNext, type Db, statement } from '../base/db.ts'
import { type ChainedRow, canonicalDetails, rowText } from './chain.ts'
import type { AuditKeys } from './keys.ts'

export type AuditRow = typeof auditLogs.$inferInsert

/** A row without id and timestamp, which it gets when it is written. */
export type NewAuditRow = Omit<AuditRow, 'id' | 'createdAt' | 'mac'>

/** A row with its MAC, as the database gets it: the values of {@link auditValues}. */
export type SignedRow = ChainedRow & { mac: Buffer }

const instantOf = (microseconds: SQL) => sql`timestamptz 'epoch' + ${microseconds}::bigint * interval '1 microsecond'`

const given = (field: keyof SignedRow) => sql.placeholder(field)

/** The columns of a row, for statements that insert one. */
export const auditValues = {
  id: given('id'),
  eventType: given('eventType'),
  action: given('action'),
  outcome: given('outcome'),
  userId: given('userId'),
  actor: given('actor'),
  teamId: given('teamId'),
  appId: given('appId'),
  resource: given('resource'),
  resourceId: given('resourceId'),
  resourceName: given('resourceName'),
  details: sql`${given('detailsText')}::jsonb`,
  ip: given('ip'),
  userAgent: given('userAgent'),
  requestId: given('requestId'),
  mac: given('mac'),
  createdAt: instantOf(sql`${given('at')}`)
}

const insertRow = statement(db => db.insert(auditLogs).values(auditValues).prepare('insert_audit'))

/**
 * Writes the audit log. Every row carries a MAC, which distinguishes it from a row that was inserted with access to the
 * database alone.
 */
export class AuditLog {
  readonly keys: AuditKeys
  readonly #nextInstant = distinctInstants()

  constructor(keys: AuditKeys) {
    this.keys = keys
  }

  /** Writes one row in the transaction of the change that it records: both are committed, or neither. */
  async write(tx: Db, row: NewAuditRow): Promise<void> {
    await insertRow(tx).execute({ ...this.sign(row) })
  }

  /** A row for a statement that makes a change and inserts its row, too. */
  sign(row: NewAuditRow): SignedRow {
    return this.#signed(row, randomUUID(), this.#nextInstant())
  }

  /** The same as the last statement of the transaction. COMMIT is sent with it and costs no round trip of its own. */
  async writeLast(tx: Db, row: NewAuditRow): Promise<void> {
    commitWithNext(tx)
    await this.write(tx, row)
  }

  /** Writes rows that already have ids and timestamps, so that a repeated batch inserts no row twice. */
  async writeMany(db: Db, rows: readonly AuditRow[]): Promise<void> {
    const signed = rows.map(row => {
      const createdAt = row.createdAt ?? new Date()
      const at = String(createdAt.getTime() * 1_000)
      const { at: _at, detailsText: _text, ...fields } = this.#signed(row, row.id ?? randomUUID(), at)
      return { ...fields, createdAt, details: row.details ?? null }
    })
    await db
      .insert(auditLogs)
      .values(signed as AuditRow[])
      .onConflictDoNothing()
  }

  /**
   * The row as PostgreSQL will return it.
   *
   * @param at the instant of the row, in microseconds since 1970
   */
  #signed(row: AuditRow, id: string, at: string): SignedRow {
    const detailsText = row.details ? canonicalDetails(row.details) : null
    const complete: ChainedRow = {
      id: id.toLowerCase(),
      at,
      eventType: row.eventType,
      action: row.action,
      outcome: row.outcome ?? 'success',
      userId: row.userId?.toLowerCase() ?? null,
      teamId: row.teamId?.toLowerCase() ?? null,
      appId: row.appId?.toLowerCase() ?? null,
      resource: row.resource,
      resourceId: row.resourceId ?? null,
      requestId: row.requestId ?? null,
      actor: row.actor ?? null,
      ip: row.ip ?? null,
      userAgent: row.userAgent ?? null,
      resourceName: row.resourceName ?? null,
      detailsText
    }
    return Object.assign(complete, { mac: this.keys.mac('row', rowText(complete, detailsText)) })
  }
}

/** The sink of the audit plugin: `writeMany` runs on its own, the others in the caller's transaction. */
export function auditSink(log: AuditLog, db: () => Db) {
  return {
    write: (tx: Db, row: NewAuditRow) => log.write(tx, row),
    sign: (row: NewAuditRow) => log.sign(row),
    writeLast: (tx: Db, row: NewAuditRow) => log.writeLast(tx, row),
    writeMany: (rows: readonly AuditRow[]) => log.writeMany(db(), rows)
  }
}

/** The time in microseconds since 1970, increasing within a millisecond, so that rows keep their order. */
function distinctInstants(): () => string {
  let millisecond = 0
  let within = 0
  return () => {
    const now = Date.now()
    within = now === millisecond ? Math.min(within + 1, 999) : 0
    millisecond = now
    return String(now * 1_000 + within)
  }
}
