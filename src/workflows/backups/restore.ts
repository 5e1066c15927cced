import { drizzle } from 'drizzle-orm/postgres-js'
import type { Sql } from 'postgres'
import * as schema from '../../../drizzle/schema.ts'
import { openStorage } from '../../../integrations/storage/index.ts'
import { loadPackages } from '../../../plugins/lib/packages.ts'
import { postgresTarget } from '../../../plugins/lib/postgres.ts'
import { openSession, type Session } from '../../../plugins/lib/postgres-session.ts'
import { AuditKeys } from '../../domain/audit/keys.ts'
import { AuditLog } from '../../domain/audit/log.ts'
import type { Db } from '../../domain/base/db.ts'
import type { Keyring } from '../../domain/base/secret-box.ts'
import { type Backup, chooseBackup, listBackups } from './catalogue.ts'
import { type Closing, closeRestored } from './closing.ts'
import { compareTables, Loader } from './load.ts'
import { type Descriptor, type Manifest, type NeededKeys, printOf } from './manifest.ts'
import { DATA } from './names.ts'
import { type BackupSettings, type KeyBundle, type Keyrings, keysOf } from './settings.ts'
import { COPY_PARAMETERS, findTables } from './tables.ts'
import { openBackup, openKeys } from './verify.ts'

/** The schema's migrations, which belong to the version that restores. */
export interface Migrator {
  /** The migrations of this version, in order. */
  readonly known: readonly { readonly tag: string; readonly checksum: string }[]
  /** The table that marks a database until it is completely restored. */
  readonly mark: string
  /** @param upTo the last one to apply; null: all */
  migrate(url: string, upTo: string | null): Promise<unknown>
}

export interface RestoreSettings extends Pick<BackupSettings, 'storage' | 'identities'> {
  /** An id, or `latest`. */
  readonly backup: string
  /** An empty database. */
  readonly databaseUrl: string
  /** This environment's keyrings; missing ones come from the backup. */
  readonly keyrings: Partial<Keyrings>
  /** The actor, for the audit log. */
  readonly by: string
  /** Skips the jobs, such as those of an incompatible version. */
  readonly withoutJobs?: boolean
}

export interface Restoration extends Closing {
  readonly backup: Descriptor
  readonly manifest: Manifest
  readonly rows: number
  /** All keyrings: this environment's own, and the rest from the backup. */
  readonly keyrings: Keyrings
  /** The `keyrings` that came from the backup. */
  readonly recovered: readonly (keyof Keyrings)[]
  /** What was stored with the keyrings; null if they are gone. */
  readonly extras: KeyBundle | null
  /** Milliseconds. */
  readonly took: number
}

/**
 * Restores a backup into an empty database. All problems with the backup, the keys or the database are found before the
 * first write. Rows become visible all at once, after they have been compared with the backup; until then the database
 * is marked, and no server starts on it.
 * @throws Error that says what is wrong
 */
export async function restoreBackup(
  settings: RestoreSettings,
  migrator: Migrator,
  signal?: AbortSignal
): Promise<Restoration> {
  const startedAt = performance.now()
  const storage = openStorage(settings.storage)!
  if (settings.identities.length === 0)
    throw new Error('a private age key is needed to open backups: give its file as BACKUP_IDENTITY_FILE')
  const { descriptor: backup } = chooseUsable(await listBackups(storage, undefined, signal), settings.backup)
  const manifest = await openBackup(storage, backup, settings.identities, { signal })
  const bundle = await openKeys(storage, backup, settings.identities, signal).catch(() => null)
  const keyrings = { ...bundle?.keyrings, ...withoutEmpty(settings.keyrings) } as Keyrings
  refuseWithoutKeys(manifest.keys, keyrings)
  refuseUnknownMigrations(manifest, migrator)
  const jobs = await jobTables(manifest, settings.withoutJobs === true)

  const session = openTarget(settings.databaseUrl)
  const stop = () => session.destroy()
  signal?.addEventListener('abort', stop)
  try {
    await refuseFull(session.sql, manifest, migrator)
    await session.sql.unsafe(`create table if not exists ${migrator.mark} (backup text)`)
    await migrator.migrate(settings.databaseUrl, manifest.migrations.at(-1)?.tag ?? null)
    if (jobs !== null) await session.sql.unsafe(jobs)

    await session.sql`begin`
    const tables = manifest.tables.filter(table => jobs !== null || table.schema !== 'pgboss')
    const loader = new Loader(session, tables)
    await loader.begin(manifest.auditMonths)
    const onRows = (table: string, rows: Buffer) => loader.add(table, rows)
    await openBackup(storage, backup, settings.identities, { onRows, signal })
    await loader.end(manifest.sequences)
    await compareTables(session, tables)
    const log = new AuditLog(new AuditKeys(ringOf(keyrings.SIGNING_KEYS)))
    const db = drizzle(session.sql, { schema, casing: 'snake_case' }) as unknown as Db
    const isClosable = manifest.migrations.length === migrator.known.length
    // An earlier version's schema lacks columns that closing writes, so it is migrated first.
    if (!isClosable) {
      await session.sql`commit`
      await migrator.migrate(settings.databaseUrl, null)
      await session.sql`begin`
    }
    const closing = await closeRestored(db, log, backup, settings.by, jobs !== null)
    await session.sql.unsafe(`drop table ${migrator.mark}`)
    await session.sql`commit`
    if (isClosable) await migrator.migrate(settings.databaseUrl, null)
    const rows = tables.reduce((sum, table) => sum + table.rows, 0)
    const recovered = (Object.keys(keyrings) as (keyof Keyrings)[]).filter(name => !settings.keyrings[name])
    const took = Math.round(performance.now() - startedAt)
    return { ...closing, backup, manifest, rows, keyrings, recovered, extras: bundle, took }
  } finally {
    signal?.removeEventListener('abort', stop)
    await session.sql.end({ timeout: 1 })
  }
}

/** Includes a backup whose keyrings are gone: this environment may have them. */
function chooseUsable(backups: readonly Backup[], wanted: string): { descriptor: Descriptor } {
  const found = backups.find(({ id }) => id === wanted)
  if (found?.descriptor && found.problem !== null && !found.problem.startsWith(DATA))
    return { descriptor: found.descriptor }
  return chooseBackup(backups, wanted)
}

function openTarget(url: string): Session {
  return openSession(postgresTarget(url), {
    applicationName: 'rhone-restore',
    connectTimeout: 10,
    prepare: false,
    parameters: COPY_PARAMETERS
  })
}

/** @throws Error that names every key that is missing, or differs under the same id */
export function refuseWithoutKeys(needed: NeededKeys, keyrings: Partial<Keyrings>): void {
  const problems = (Object.keys(needed) as (keyof NeededKeys)[]).flatMap(name => {
    const ring = keysOf(keyrings[name] ?? '')
    return needed[name].flatMap(({ id, print }) => {
      const key = ring.get(id)
      if (key === undefined) return [`${name}: the key "${id}" is missing; add it to the end of the list`]
      if (print !== null && printOf(id, key) !== print) return [`${name}: the key "${id}" is not the one of the backup`]
      return []
    })
  })
  if (keyrings.SIGNING_KEYS === undefined) problems.push('SIGNING_KEYS: are missing, and were not found in the backup')
  if (problems.length > 0) throw new Error(`nothing was written, since keys are wrong:\n${problems.join('\n')}`)
}

function refuseUnknownMigrations({ migrations, release }: Manifest, { known }: Migrator): void {
  for (const [index, { tag, checksum }] of migrations.entries())
    if (known[index]?.tag !== tag || known[index]?.checksum !== checksum)
      throw new Error(
        `the backup has migration ${tag}, which this version does not know: restore it with Rhone ${release}, or a later one`
      )
}

/** Creates the tables of jobs; null if no jobs are restored. */
async function jobTables({ jobs, release }: Manifest, isLeftOut: boolean): Promise<string | null> {
  if (jobs === null || isLeftOut) return null
  const { getConstructionPlans } = await loadPackages('backups', ['pg-boss'], () => import('pg-boss'))
  const plans = getConstructionPlans()
  const [, version] = /INSERT INTO pgboss\.version\s*\(version\) VALUES \('?(\d+)'?\)/i.exec(plans) ?? []
  if (Number(version) !== jobs)
    throw new Error(
      `the backup has jobs of version ${jobs}, and this Rhone has ${version}: restore it with Rhone ${release}, or --without-jobs`
    )
  return plans.replace(
    'CREATE SCHEMA IF NOT EXISTS pgboss',
    'DROP SCHEMA IF EXISTS pgboss CASCADE; CREATE SCHEMA pgboss'
  )
}

/** An earlier attempt with the same schema may have been interrupted: its database is marked, and contains no rows. */
async function refuseFull(sql: Sql, { migrations }: Manifest, { mark }: Migrator): Promise<void> {
  const [row] = await sql`select to_regclass(${mark}) as mark`
  const tables = await findTables(sql)
  if (row?.mark == null) {
    if (tables.length === 0) return
    throw new Error(`the database holds ${tables.length} tables, and a restore goes into an empty one only`)
  }
  if (!tables.some(({ schema, name }) => schema === 'public' && name === 'schema_migrations')) return
  const ledger = await sql<{ tag: string }[]>`select tag from schema_migrations`
  const tags = new Set(migrations.map(({ tag }) => tag))
  if (ledger.some(({ tag }) => !tags.has(tag)))
    throw new Error('the database holds an unfinished restore of another version: give an empty one')
}

export function ringOf(text: string): Keyring {
  const keys = keysOf(text)
  const [first] = keys
  if (first === undefined) throw new Error('SIGNING_KEYS: are empty')
  return { current: { id: first[0], key: first[1] }, keys }
}

function withoutEmpty(keyrings: Partial<Keyrings>): Partial<Keyrings> {
  return Object.fromEntries(Object.entries(keyrings).filter(([, ring]) => ring))
}
