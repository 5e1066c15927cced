import { apps, teams } from '../../drizzle/schema.ts'
import type { Db } from './db.ts'

export function countActiveApps(db: Db): Promise<number> {
  return db.$count(apps)
}

export function countActiveTeams(db: Db): Promise<number> {
  return db.$count(teams)
}
