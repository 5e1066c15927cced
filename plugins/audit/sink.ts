import type { Db } from '../lib/own-types.ts'
import type { AuditRow } from './row.ts'

/** Where rows are written. */
export interface AuditSink {
  /** Writes in the transaction of the change. */
  write(tx: Db, row: AuditRow): Promise<void>
  /**
   * Like `write`, when nothing follows in the transaction. A sink that needs only one statement may commit with it and
   * save a round trip. Defaults to `write`.
   */
  writeLast?(tx: Db, row: AuditRow): Promise<void>
  writeMany(rows: readonly AuditRow[]): Promise<void>
}
