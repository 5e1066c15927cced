import { type MigrateOptions, type MigrationReport, migrate } from '../../drizzle/migrate.ts'
import { postgresTarget } from '../../plugins/lib/postgres.ts'
import { openSession } from '../../plugins/lib/postgres-session.ts'

/** Seconds. */
const CONNECT_TIMEOUT = 10

/**
 * Migrates the database at `url`, which must not go through a transaction pooler. Closing the connection also releases
 * the lock that other instances wait for.
 *
 * @throws Error as `migrate` does, and when the database is unreachable
 */
export async function migrateDatabase(url: string, options?: MigrateOptions): Promise<MigrationReport> {
  const { sql } = openSession(postgresTarget(url), {
    applicationName: 'rhone-migrate',
    connectTimeout: CONNECT_TIMEOUT,
    prepare: false
  })
  try {
    return await migrate(sql, options)
  } finally {
    await sql.end({ timeout: 1 })
  }
}
