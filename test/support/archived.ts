import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres, { type Sql } from 'postgres'
import { postgresTarget } from '../../plugins/lib/postgres.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/embedded-postgres/index.ts'
import { migrateDatabase } from '../../src/wiring/migrations.ts'
import type { ArchiveSettings } from '../../src/workflows/archive/settings.ts'
import { archive } from '../../src/workflows/archive/ship.ts'
import type { ArchiveState } from '../../src/workflows/archive/state.ts'
import { backupSettings, connectTo } from './backups.ts'
import type { Scope } from './database.ts'
import { eventually } from './eventually.ts'

export interface Archived {
  readonly dataDir: string
  readonly postgres: EmbeddedPostgres
  readonly sql: Sql
  readonly settings: ArchiveSettings
  /** Has PostgreSQL finish the segment that it writes, as it does by itself within a minute, and waits for it. */
  finishSegment(): Promise<void>
  /** Stores what waits. */
  store(): Promise<ArchiveState>
  /** An instant that lies between everything before this call and everything after it. */
  instant(): Promise<Date>
}

/** An embedded database of the scope's own that is archived into a folder. */
export async function archivedDatabase(scope: Scope, changes: Partial<ArchiveSettings> = {}): Promise<Archived> {
  const dataDir = await mkdtemp(join(tmpdir(), 'rhone-archived-'))
  const silent = { info() {}, warn() {}, error() {} }
  const embedded = await startEmbeddedPostgres({
    dataDir: join(dataDir, 'postgres'),
    archive: true,
    durable: false,
    log: silent
  })
  scope.after(async () => {
    await embedded.stop()
    await rm(dataDir, { recursive: true, force: true })
  })
  await migrateDatabase(embedded.url)
  const { url: replicationUrl, directory } = embedded.archive!
  const settings: ArchiveSettings = {
    ...(await backupSettings(scope, { databaseUrl: embedded.url })),
    ...{ replicationUrl, directory, limit: 2 ** 30, keepDays: 7 },
    ...changes
  }
  const sql = connectTo(scope, embedded.url)
  const archiver = postgres({ ...postgresTarget(replicationUrl), max: 1, onnotice() {} })
  scope.after(() => archiver.end({ timeout: 1 }))
  return {
    dataDir,
    postgres: embedded,
    sql,
    settings,
    async finishSegment() {
      const [row] = await archiver<{ file: string }[]>`select pg_walfile_name(pg_switch_wal() - 1) as file`
      await eventually(async () => {
        const [state] = await sql`select last_archived_wal as last from pg_stat_archiver`
        return state!.last >= row!.file
      })
    },
    store: () => archive(settings, new AbortController().signal),
    async instant() {
      const at = new Date(Date.now() + 1)
      await eventually(() => Date.now() > at.getTime() + 1)
      return at
    }
  }
}
