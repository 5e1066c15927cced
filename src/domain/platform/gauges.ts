import { apps, teams } from '../../../drizzle/schema.ts'
import type { Db } from '../base/db.ts'

/** The names of the platform's gauges, and how to read each one. */
export function platformReadings(db: () => Db) {
  const help = (what: string) => `${what} on the platform; the same from every instance.`
  return [
    { name: 'rhone_active_apps', help: help('Apps'), read: () => db().$count(apps) },
    { name: 'rhone_active_teams', help: help('Teams'), read: () => db().$count(teams) }
  ]
}
