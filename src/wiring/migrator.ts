import { readMigrations } from '../../drizzle/journal.ts'
import { RESTORE_MARK } from '../../drizzle/migrate.ts'
import type { Migrator } from '../workflows/backups/restore.ts'
import { migrateDatabase } from './migrations.ts'

/** This version's migrations, for restoring backups that an earlier version may have made. */
export async function ownMigrator(): Promise<Migrator> {
  return {
    known: await readMigrations(),
    mark: RESTORE_MARK,
    migrate: (url, upTo) => migrateDatabase(url, { restoring: true, ...(upTo !== null && { upTo }) })
  }
}
