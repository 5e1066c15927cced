import { sql } from 'drizzle-orm'
import type { Db } from './db.ts'

/** The current month and three more, which leaves time to react when partitions cannot be created. */
const MONTHS_AHEAD = 4

/** Creates the coming partitions of the audit log. @returns how many were missing */
export async function ensurePartitions(db: Db, now = new Date()): Promise<number> {
  const today = now.toISOString().slice(0, 10)
  const [row] = await db.execute<{ made: number }>(
    sql`select ensure_audit_partitions(${today}::date, ${MONTHS_AHEAD}) as made`
  )
  return row?.made ?? 0
}

export interface Partition {
  name: string
  /** Exclusive. */
  ends: Date
}

/** The monthly partitions, oldest first; their names contain the month. */
export async function listPartitions(db: Db): Promise<Partition[]> {
  const rows = await db.execute<{ name: string }>(sql`
    select inhrelid::regclass::text as name from pg_inherits
    where inhparent = 'audit_logs'::regclass and inhrelid::regclass::text ~ '^audit_logs_\\d{4}_\\d{2}$' order by 1`)
  return rows.map(({ name }) => {
    const [, year, month] = /(\d{4})_(\d{2})$/.exec(name)!
    return { name, ends: new Date(Date.UTC(Number(year), Number(month))) }
  })
}
