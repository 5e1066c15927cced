import { randomUUID } from 'node:crypto'
import { getTableColumns, type SQL, sql } from 'drizzle-orm'
import { auditLogs } from '../../../drizzle/schema.ts'
import { commitWithNext, type Db, statement } from '../base/db.ts'
import { type ChainedRow, rowText } from './chain.ts'
import type { AuditKeys } from './keys.ts'

export type AuditRow = typeof auditLogs.$inferInsert

/** A row without id and timestamp, which it gets when it is written. */
export type NewAuditRow = Omit<AuditRow, 'id' | 'createdAt' | 'mac'>

const { details: _details, createdAt: _createdAt, ...plainColumns } = getTableColumns(auditLogs)
const PLAIN_FIELDS = Object.keys(plainColumns) as (keyof typeof plainColumns)[]

const instantOf = (microseconds: SQL) => sql`timestamptz 'epoch' + ${microseconds}::bigint * interval '1 microsecond'`

const insertRow = statement(db => {
  const values = {
    ...Object.fromEntries(PLAIN_FIELDS.map(field => [field, sql.placeholder(field)])),
    createdAt: instantOf(sql`${sql.placeholder('at')}`),
    details: sql`${sql.placeholder('detailsText')}::jsonb`
  }
  return db
    .insert(auditLogs)
    .values(values as never)
    .prepare('insert_audit')
})

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
    await insertRow(tx).execute({ ...this.#signed({ ...row, id: randomUUID() }, this.#nextInstant()) })
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
      const { at: _at, detailsText: _text, ...fields } = this.#signed(row, String(createdAt.getTime() * 1_000))
      return { ...fields, createdAt, details: row.details ?? null }
    })
    await db
      .insert(auditLogs)
      .values(signed as AuditRow[])
      .onConflictDoNothing()
  }

  /** @param at the instant of the row, in microseconds since 1970 */
  #signed(row: AuditRow, at: string): ChainedRow & { mac: Buffer } {
    const plain = Object.fromEntries(PLAIN_FIELDS.map(field => [field, row[field] ?? null])) as unknown as ChainedRow
    const { id = randomUUID(), outcome = 'success', userId, teamId, appId, details } = row
    const complete: ChainedRow = {
      ...plain,
      // As PostgreSQL returns them.
      id: id.toLowerCase(),
      userId: userId?.toLowerCase() ?? null,
      teamId: teamId?.toLowerCase() ?? null,
      appId: appId?.toLowerCase() ?? null,
      outcome,
      at,
      detailsText: details ? JSON.stringify(details) : null
    }
    return { ...complete, mac: this.keys.mac('row', rowText(complete)) }
  }
}

/** The sink of the audit plugin: `writeMany` runs on its own, the others in the caller's transaction. */
export function auditSink(log: AuditLog, db: () => Db) {
  return {
    write: (tx: Db, row: NewAuditRow) => log.write(tx, row),
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
