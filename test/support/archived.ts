import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres, { type Sql } from 'postgres'
import { postgresTarget } from '../../plugins/lib/postgres.ts'
import { main } from '../../src/cli/main.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/embedded-postgres/index.ts'
import { migrateDatabase } from '../../src/wiring/migrations.ts'
import type { ArchiveSettings } from '../../src/workflows/archive/settings.ts'
import { archive } from '../../src/workflows/archive/ship.ts'
import type { ArchiveState } from '../../src/workflows/archive/state.ts'
import { recipientOf } from '../../src/workflows/backups/sealing.ts'
import { backupSettings, connectTo, directoryFor } from './backups.ts'
import type { Scope } from './database.ts'
import { eventually } from './eventually.ts'

const SILENT = { info() {}, warn() {}, error() {} }

export interface Archived {
  readonly dataDir: string
  readonly postgres: EmbeddedPostgres
  readonly sql: Sql
  readonly settings: ArchiveSettings
  /** Makes PostgreSQL finish its current segment, as it does itself within a minute, and waits for it. */
  finishSegment(): Promise<void>
  /** Stores the waiting segments. */
  store(): Promise<ArchiveState>
  /** A time between everything before this call and everything after it. */
  instant(): Promise<Date>
}

/** An embedded database for the scope that is archived into a folder. */
export async function archivedDatabase(scope: Scope, changes: Partial<ArchiveSettings> = {}): Promise<Archived> {
  const dataDir = await mkdtemp(join(tmpdir(), 'rhone-archived-'))
  const embedded = await startEmbeddedPostgres({
    dataDir: join(dataDir, 'postgres'),
    archive: true,
    durable: false,
    log: SILENT
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

/** `rhone ...` on an empty machine with the location of the archive and the private key. */
export async function bareMachine(scope: Scope, { settings }: Archived) {
  const parent = await mkdtemp(join(tmpdir(), 'rhone-bare-'))
  const DATA_DIR = join(parent, 'new')
  let database: EmbeddedPostgres | undefined
  scope.after(async () => {
    await database?.stop()
    await rm(parent, { recursive: true, force: true })
  })
  const key = join(await directoryFor(scope), 'key.txt')
  await writeFile(key, `${settings.identities[0]}\n`)
  const environment = {
    LOG_LEVEL: 'silent',
    DATA_DIR,
    BACKUP_URL: `file://${(settings.storage as { directory: string }).directory}`,
    BACKUP_RECIPIENTS: await recipientOf(settings.identities[0]!),
    BACKUP_IDENTITY_FILE: key
  }
  return {
    DATA_DIR,
    async rhone(...args: string[]) {
      let out = ''
      let said = ''
      const code = await main(args, {
        stdout: text => {
          out += text
        },
        stderr: text => {
          said += text
        },
        environment: () => environment
      })
      return { code, out, said }
    },
    /** A connection to the database of the empty machine. */
    async open() {
      database = await startEmbeddedPostgres({ dataDir: join(DATA_DIR, 'postgres'), log: SILENT, durable: false })
      return connectTo(scope, database.url)
    }
  }
}
