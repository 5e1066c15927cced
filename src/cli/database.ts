import { join } from 'node:path'
import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import postgres from 'postgres'
import * as schema from '../../drizzle/schema.ts'
import { postgresTarget } from '../../plugins/lib/postgres.ts'
import { findEmbeddedPostgres, startEmbeddedPostgres } from '../embedded-postgres/index.ts'
import type { Input } from './command.ts'

type Host = Pick<Input, 'config' | 'note'>

/**
 * Lends a command the URL of the database: the configured one, bypassing any pooler, or that of the embedded one, which
 * is shared with a running server or else started for the duration of the command.
 * @param options `archived`: whether the command's writes are archived; filling a new database needs no archive
 */
export async function withDatabaseUrl<Result>(
  host: Host,
  use: (url: string) => Promise<Result>,
  { archived = true } = {}
): Promise<Result> {
  const config = await host.config()
  if (config.database.directUrl !== null) {
    const { primaryUrlOf } = await import('../wiring/primary-database.ts')
    return use(await primaryUrlOf(config, config.database.directUrl))
  }

  const dataDir = join(config.dataDir, 'postgres')
  const running = await findEmbeddedPostgres(dataDir)
  if (running !== null) return use(running)

  // The command's writes belong in the next server's archive, too: otherwise the archive would have a gap.
  const archive = archived && config.backups.continuous
  const own = await startEmbeddedPostgres({ dataDir, archive, log: { info() {}, warn: host.note, error: host.note } })
  try {
    return await use(own.url)
  } finally {
    await own.stop()
  }
}

/** Lends a command a connection to the database. */
export function withDatabase<Result>(
  host: Host,
  use: (db: PostgresJsDatabase<typeof schema>) => Promise<Result>
): Promise<Result> {
  return withDatabaseUrl(host, async url => {
    const target = postgresTarget(url)
    const client = postgres({
      ...target,
      max: 1,
      connect_timeout: 10,
      connection: { ...target.connection, application_name: 'rhone-cli' },
      onnotice: () => {}
    })
    try {
      return await use(drizzle(client, { schema, casing: 'snake_case' }))
    } finally {
      await client.end({ timeout: 1 })
    }
  })
}
