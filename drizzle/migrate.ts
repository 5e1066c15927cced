import { setTimeout as delay } from 'node:timers/promises'
import type { Sql } from 'postgres'
import { type ConcurrentIndex, concurrentIndexes } from './concurrent-indexes.ts'
import { type Migration, readMigrations } from './journal.ts'

export interface MigrateOptions {
  log?: { info(facts: object, message: string): void }
  /** Milliseconds to wait for another migrating instance, and for the table lock of an index build. */
  patience?: number
  /** The folder that drizzle-kit writes migrations to. */
  folder?: string
  indexes?: readonly ConcurrentIndex[]
  /** The tag of the last migration to apply; by default the newest. Without the newest, no indexes are built. */
  upTo?: string
  /** Only for restoring a backup, which marks the database until it is complete. */
  restoring?: boolean
}

export interface MigrationReport {
  /** The tags of the migrations applied by this call. */
  applied: string[]
  /** The names of the indexes built by this call. */
  indexed: string[]
}

/** Advisory lock shared by all instances of Rhone; unlikely to clash with any other. */
const LOCK = 7_266_911_473_001
/** While a migration waits for a table lock, all later queries on that table queue behind it. */
const TABLE_LOCK_TIMEOUT = 5_000

/**
 * Migrates a database to this version's schema: applies the missing migrations, each in one transaction with its entry
 * in the ledger `schema_migrations`, then builds the concurrent indexes. When several instances start at once, one
 * migrates and the others wait. The next call completes an interrupted migration.
 *
 * @param sql one direct connection that never reconnects: the lock belongs to its session, so a new connection or a
 *   transaction pooler would lose it. Its `statement_timeout` and `lock_timeout` are changed.
 * @throws Error when the ledger and the files disagree; the database is then left as it is
 */
export async function migrate(sql: Sql, options: MigrateOptions = {}): Promise<MigrationReport> {
  const { patience = 60_000, indexes = concurrentIndexes, log, upTo } = options
  const all = await readMigrations(options.folder)
  const end = upTo === undefined ? all.length : all.findIndex(({ tag }) => tag === upTo) + 1
  if (end === 0) throw new Error(`there is no migration ${upTo} in this version`)
  const migrations = all.slice(0, end)
  await sql`set statement_timeout = 0`
  await waitForTurn(sql, patience)
  if (!options.restoring) await refuseHalfRestored(sql)
  const applied = await applyPending(sql, migrations, log)
  const indexed = end < all.length ? [] : await buildMissing(sql, indexes, patience, log)
  return { applied, indexed }
}

/** The table that a restore keeps in the database until all data is there. */
export const RESTORE_MARK = 'restore_unfinished'

async function refuseHalfRestored(sql: Sql): Promise<void> {
  const [row] = await sql`select to_regclass(${RESTORE_MARK}) as mark`
  if (row?.mark != null)
    throw new Error(
      'a restore into this database was cut off, and it holds nothing yet: run "rhone backup restore" again'
    )
}

/**
 * Polls for the lock. A session that waits inside `pg_advisory_lock` holds a snapshot, and the lock holder's `CREATE
 * INDEX CONCURRENTLY` would wait for that in turn.
 */
async function waitForTurn(sql: Sql, patience: number): Promise<void> {
  const deadline = performance.now() + patience
  for (;;) {
    const [row] = await sql`select pg_try_advisory_lock(${LOCK}::bigint) as taken`
    if (row?.taken) return
    if (performance.now() >= deadline)
      throw new Error(`another instance has been migrating this database for ${patience} ms; gave up waiting for it`)
    await delay(50 + Math.random() * 100)
  }
}

async function applyPending(sql: Sql, migrations: readonly Migration[], log: MigrateOptions['log']): Promise<string[]> {
  await sql`create table if not exists schema_migrations (
    idx integer primary key,
    tag text not null unique,
    checksum text not null,
    applied_at timestamptz not null default now()
  )`
  await setLockTimeout(sql, TABLE_LOCK_TIMEOUT)
  const applied: string[] = []
  for (const migration of await pendingMigrations(sql, migrations)) {
    await apply(sql, migration)
    log?.info({ migration: migration.tag }, 'migration applied')
    applied.push(migration.tag)
  }
  return applied
}

/** The migrations missing from the ledger, after checking that its entries match the files. */
async function pendingMigrations(sql: Sql, migrations: readonly Migration[]): Promise<Migration[]> {
  const ledger = await sql<
    { tag: string; checksum: string }[]
  >`select tag, checksum from schema_migrations order by idx`
  const known = new Map(migrations.map(migration => [migration.tag, migration]))
  for (const { tag, checksum } of ledger) {
    const migration = known.get(tag)
    if (migration === undefined)
      throw new Error(`the database has migration ${tag}, which this version does not know; run a newer version`)
    if (migration.checksum !== checksum)
      throw new Error(`migration ${tag} was edited after it was applied; restore it and write a new migration`)
  }

  const done = new Set(ledger.map(entry => entry.tag))
  const pending = migrations.filter(migration => !done.has(migration.tag))
  const newest = ledger.at(-1)?.tag
  const [first] = pending
  if (first && newest && first.index < known.get(newest)!.index)
    throw new Error(`migration ${first.tag} comes before ${newest}, which is applied already; generate it again`)
  return pending
}

/** Not the driver's own `begin`: it ends the process if the connection is lost inside. */
async function apply(sql: Sql, { index, tag, statements, checksum }: Migration): Promise<void> {
  try {
    await sql`begin`
    for (const statement of statements) await sql.unsafe(statement)
    await sql`insert into schema_migrations (idx, tag, checksum) values (${index}, ${tag}, ${checksum})`
    await sql`commit`
  } catch (cause) {
    throw new Error(`migration ${tag} failed and was rolled back: ${messageOf(cause)}`, { cause })
  }
}

/** Builds every index that is missing, or that an earlier attempt left unfinished. */
async function buildMissing(
  sql: Sql,
  indexes: readonly ConcurrentIndex[],
  patience: number,
  log: MigrateOptions['log']
): Promise<string[]> {
  await setLockTimeout(sql, patience)
  const built: string[] = []
  for (const { name, on } of indexes) {
    const [existing] = await sql`select indisvalid as valid from pg_index where indexrelid = to_regclass(${name})`
    if (existing?.valid) continue
    try {
      if (existing) await sql`drop index concurrently ${sql(name)}`
      await sql`create index concurrently ${sql(name)} on ${sql.unsafe(on)}`
    } catch (cause) {
      throw new Error(`index ${name} could not be built: ${messageOf(cause)}`, { cause })
    }
    log?.info({ index: name }, existing ? 'unfinished index rebuilt' : 'index built')
    built.push(name)
  }
  return built
}

async function setLockTimeout(sql: Sql, milliseconds: number): Promise<void> {
  await sql`select set_config('lock_timeout', ${String(milliseconds)}, false)`
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
