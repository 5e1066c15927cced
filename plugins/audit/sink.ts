import type { Db } from '../lib/own-types.ts'
import type { AuditRow } from './row.ts'

/** A row as a sink stores it; only the sink and the statements that are made for it know its fields. */
export type StoredRow = object

/** Where rows are written. */
export interface AuditSink {
  /** Writes in the transaction of the change. */
  write(tx: Db, row: AuditRow): Promise<void>
  /**
   * Like `write`, when nothing follows in the transaction. A sink that needs only one statement may commit with it and
   * save a round trip. Defaults to `write`.
   */
  writeLast?(tx: Db, row: AuditRow): Promise<void>
  /** A row to be written by the statement that makes the change. Default: no statement can write rows. */
  sign?(row: AuditRow): StoredRow
  writeMany(rows: readonly AuditRow[]): Promise<void>
}
