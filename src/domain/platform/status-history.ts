import { gte, sql } from 'drizzle-orm'
import { statusDays } from '../../../drizzle/schema.ts'
import type { Db } from '../base/db.ts'

/** How many seconds of a UTC day a component was observed in each state. */
export type StatusDay = Required<typeof statusDays.$inferInsert>

/** Adds one instance's observations to the shared totals. @param days ordered by key, without duplicates */
export async function addStatusDays(db: Db, days: readonly StatusDay[]): Promise<void> {
  await db
    .insert(statusDays)
    .values([...days])
    .onConflictDoUpdate({
      target: [statusDays.day, statusDays.component],
      set: {
        operational: sql`${statusDays.operational} + excluded.operational`,
        degraded: sql`${statusDays.degraded} + excluded.degraded`,
        outage: sql`${statusDays.outage} + excluded.outage`,
        maintenance: sql`${statusDays.maintenance} + excluded.maintenance`
      }
    })
}

/** @param since YYYY-MM-DD */
export function statusDaysSince(db: Db, since: string): Promise<StatusDay[]> {
  return db.select().from(statusDays).where(gte(statusDays.day, since))
}
