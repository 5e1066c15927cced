import { sql } from 'drizzle-orm'
import type { Db } from './db.ts'

/** The current month and three more, so that nobody has to come to work on the first of a month. */
const MONTHS_AHEAD = 4

/** Makes the partitions of the audit log for the months to come. @returns how many were not there */
export async function ensurePartitions(db: Db, now = new Date()): Promise<number> {
  const today = now.toISOString().slice(0, 10)
  const [row] = await db.execute<{ made: number }>(
    sql`select ensure_audit_partitions(${today}::date, ${MONTHS_AHEAD}) as made`
  )
  return row?.made ?? 0
}

export interface Partition {
  name: string
  /** The first instant after it. */
  ends: Date
}

/** The monthly partitions, oldest first. Their names say which month they are of. */
export async function listPartitions(db: Db): Promise<Partition[]> {
  const rows = await db.execute<{ name: string }>(sql`
    select inhrelid::regclass::text as name from pg_inherits
    where inhparent = 'audit_logs'::regclass and inhrelid::regclass::text ~ '^audit_logs_\\d{4}_\\d{2}$' order by 1`)
  return rows.map(({ name }) => {
    const [, year, month] = /(\d{4})_(\d{2})$/.exec(name)!
    return { name, ends: new Date(Date.UTC(Number(year), Number(month))) }
  })
}
