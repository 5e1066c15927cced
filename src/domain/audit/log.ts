import { randomUUID } from 'node:crypto'
import { getTableColumns, type SQL, sql } from 'drizzle-orm'
import { auditLogs } from '../../../drizzle/schema.ts'
import { commitWithNext, type Db, statement } from '../base/db.ts'
import { type ChainedRow, rowText } from './chain.ts'
import type { AuditKeys } from './keys.ts'

export type AuditRow = typeof auditLogs.$inferInsert

/** An event that is written when it happens: its id and its instant are made here. */
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
 * Writes the audit log. Every row carries a MAC, by which it is told from a row that somebody has written who has the
 * database and not the keys.
 */
export class AuditLog {
  readonly keys: AuditKeys
  readonly #nextInstant = distinctInstants()

  constructor(keys: AuditKeys) {
    this.keys = keys
  }

  /** Writes one row, in the transaction of what it tells of: if it cannot be written, that does not happen either. */
  async write(tx: Db, row: NewAuditRow): Promise<void> {
    await insertRow(tx).execute({ ...this.#signed({ ...row, id: randomUUID() }, this.#nextInstant()) })
  }

  /** The same as the transaction's last statement. It is one statement, so COMMIT can go with it. */
  async writeLast(tx: Db, row: NewAuditRow): Promise<void> {
    commitWithNext(tx)
    await this.write(tx, row)
  }

  /** Writes rows that carry their ids and instants; a batch that is tried again leaves no row twice. */
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
      // As PostgreSQL gives them back.
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

/** Where the audit plugin writes: `writeMany` on its own, the others in a transaction of its caller's. */
export function auditSink(log: AuditLog, db: () => Db) {
  return {
    write: (tx: Db, row: NewAuditRow) => log.write(tx, row),
    writeLast: (tx: Db, row: NewAuditRow) => log.writeLast(tx, row),
    writeMany: (rows: readonly AuditRow[]) => log.writeMany(db(), rows)
  }
}

/** Now, in microseconds since 1970; within a millisecond later than the time before, so that rows keep their order. */
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
