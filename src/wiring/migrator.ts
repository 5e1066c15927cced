import { readMigrations } from '../../drizzle/journal.ts'
import { RESTORE_MARK } from '../../drizzle/migrate.ts'
import type { Migrator } from '../workflows/backups/restore.ts'
import { migrateDatabase } from './migrations.ts'

/** The migrations of this version, for restores of backups that an earlier one may have made. */
export async function ownMigrator(): Promise<Migrator> {
  return {
    known: await readMigrations(),
    mark: RESTORE_MARK,
    migrate: (url, upTo) => migrateDatabase(url, { restoring: true, ...(upTo !== null && { upTo }) })
  }
}
