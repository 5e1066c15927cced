import { createHash, randomBytes } from 'node:crypto'
import { sql as query } from 'drizzle-orm'
import { getConstructionPlans } from 'pg-boss'
import postgres, { type Sql } from 'postgres'
import { concurrentIndexes } from '../../drizzle/concurrent-indexes.ts'
import { readMigrations } from '../../drizzle/journal.ts'
import type { Db } from '../../src/domain/base/db.ts'
import { migrateDatabase } from '../../src/wiring/migrations.ts'
import { eventually } from './eventually.ts'

/** A test, a suite, or a whole file: `freshDatabase({ after })` with `after` of node:test. */
export interface Scope {
  after(release: () => Promise<void>): void
}

/** The URL of a private migrated database with job tables. It is dropped after the scope has ended. */
export async function freshDatabase(scope: Scope): Promise<string> {
  template ??= makeTemplate()
  return createDatabase(scope, await template)
}

/** The URL of a database without any table. */
export function emptyDatabase(scope: Scope): Promise<string> {
  return createDatabase(scope, 'template0')
}

/** Test processes may need the cluster's superuser, to restart or starve the system under test. */
export function withCluster<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
  cluster ??= postgres(clusterUrl(), { max: 1, fetch_types: false, onnotice: () => {} })
  return work(cluster)
}

/** One connection per file: opening one costs more than most of its statements. */
let cluster: Sql | undefined

/** Drops the databases of scopes that have ended, and closes the connection to the cluster. */
export async function leaveCluster(): Promise<void> {
  await dropReleased()
  await cluster?.end({ timeout: 1 })
  cluster = undefined
}

/** Ends every client's connection to the database at `url`. Other processes in it, such as autovacuum's, are not ours. */
export async function terminateBackends(url: string): Promise<void> {
  await withCluster(
    sql => sql`select pg_terminate_backend(pid) from pg_stat_activity
      where datname = ${databaseOf(url)} and backend_type = 'client backend'`
  )
}

/** Whether a statement of the same database waits for a lock that another one holds. */
export async function isWaitingForLock(db: Db): Promise<boolean> {
  const [row] = await db.execute<{ waiting: boolean }>(
    query`select exists (select from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock') as waiting`
  )
  return row!.waiting
}

export const databaseOf = (url: string): string => new URL(url).pathname.slice(1)

async function createDatabase(scope: Scope, template: string): Promise<string> {
  await dropReleased()
  const name = `t_${randomBytes(8).toString('hex')}`
  // Copied file by file: without the need for durability, blocks need not go through the write-ahead log.
  await withCluster(sql => sql`create database ${sql(name)} template ${sql(template)} strategy file_copy`)
  scope.after(async () => void released.add(name))
  return urlOf(name)
}

/**
 * Databases of scopes that have ended. Hooks run in the order they were added, so when a database is released, the server
 * that uses it is not closed yet, and would fail without its database in ways that no test expects.
 */
const released = new Set<string>()

async function dropReleased(): Promise<void> {
  if (released.size === 0) return
  const names = [...released]
  released.clear()
  await withCluster(async sql => {
    for (const name of names) await drop(sql, name)
  })
}

const MAY_NOT_TERMINATE = '42501'

/** Autovacuum workers must not be ended; they exit within a moment. */
async function drop(sql: Sql, name: string): Promise<void> {
  await eventually(async () => {
    try {
      await sql`drop database if exists ${sql(name)} with (force)`
      return true
    } catch (error) {
      if ((error as { code?: string }).code !== MAY_NOT_TERMINATE) throw error
      return false
    }
  })
}

/** The name of the template database. It does not change while this process runs. */
let template: Promise<string> | undefined

/** Migrating takes longer than copying, so it is done once per cluster and version of the schema. */
async function makeTemplate(): Promise<string> {
  const name = `rhone_template_${await schemaHash()}`
  await withCluster(async sql => {
    await sql`select pg_advisory_lock(hashtext(${name}))`
    try {
      await makeOnce(sql, name)
    } finally {
      await sql`select pg_advisory_unlock(hashtext(${name}))`
    }
  })
  return name
}

async function makeOnce(sql: Sql, name: string): Promise<void> {
  const [existing] = await sql`select from pg_database where datname = ${name}`
  if (existing !== undefined) return

  const unfinished = `${name}_unfinished`
  await sql`drop database if exists ${sql(unfinished)} with (force)`
  await sql`create database ${sql(unfinished)} template template0`
  await migrateDatabase(urlOf(unfinished))
  await addJobTables(urlOf(unfinished))
  await settle(urlOf(unfinished))
  await sql`alter database ${sql(unfinished)} rename to ${sql(name)}`
}

/** Does what the first start of a server does. */
async function addJobTables(url: string): Promise<void> {
  const sql = postgres(url, { max: 1, fetch_types: false, onnotice: () => {} })
  await sql.unsafe(getConstructionPlans())
  await sql.end({ timeout: 1 })
}

/** Prepares what each copy would otherwise do itself: hint bits, and the file of relations that connections load. */
async function settle(url: string): Promise<void> {
  const sql = postgres(url, { max: 1, fetch_types: false, onnotice: () => {} })
  await sql`vacuum (freeze, analyze)`
  await sql.end({ timeout: 1 })
  const next = postgres(url, { max: 1, fetch_types: false, onnotice: () => {} })
  await next`select count(*) from pg_class`
  await next.end({ timeout: 1 })
}

async function schemaHash(): Promise<string> {
  const facts = [
    (await readMigrations()).map(migration => migration.checksum),
    concurrentIndexes,
    getConstructionPlans()
  ]
  return createHash('sha256').update(JSON.stringify(facts)).digest('hex').slice(0, 12)
}

function urlOf(database: string): string {
  const url = new URL(clusterUrl())
  url.pathname = `/${database}`
  return url.href
}

function clusterUrl(): string {
  const url = process.env.RHONE_TEST_DATABASE_URL
  if (url === undefined) throw new Error('RHONE_TEST_DATABASE_URL is not set; `npm test` starts a cluster and sets it')
  return url
}
