import type { Db } from '../lib/own-types.ts'
import type { AuditRow } from './row.ts'

/** Where rows go. */
export interface AuditSink {
  /** Writes in the transaction of the change. */
  write(tx: Db, row: AuditRow): Promise<void>
  /**
   * The same where nothing follows in the transaction. A sink that needs one statement for it may commit with that and
   * save a round trip. Without this, it is `write`.
   */
  writeLast?(tx: Db, row: AuditRow): Promise<void>
  writeMany(rows: readonly AuditRow[]): Promise<void>
}
