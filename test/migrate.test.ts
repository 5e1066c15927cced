import assert from 'node:assert/strict'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import postgres, { type Sql } from 'postgres'
import { MIGRATIONS_FOLDER, readMigrations } from '../drizzle/journal.ts'
import { migrateDatabase } from '../src/wiring/migrations.ts'
import { emptyDatabase, freshDatabase } from './support/database.ts'
import { eventually } from './support/eventually.ts'

const TAGS = (await readMigrations()).map(({ tag }) => tag)
const NEXT = TAGS.length
const tagOf = (index: number, name: string) => `${String(index).padStart(4, '0')}_${name}`
const INDEXES = [
  'idx_apps_created_at',
  'idx_deployments_created_at',
  'idx_deployments_active',
  'idx_audit_seals_erasure'
]

suite('migrate', () => {
  test('brings an empty database up to date, and does nothing the next time', async t => {
    const url = await emptyDatabase(t)
    assert.deepEqual(await migrateDatabase(url), { applied: TAGS, indexed: INDEXES })
    assert.deepEqual(await migrateDatabase(url), { applied: [], indexed: [] })
  })

  test('of several instances that start together, one migrates while the others wait', async t => {
    const url = await emptyDatabase(t)
    const reports = await Promise.all([migrateDatabase(url), migrateDatabase(url), migrateDatabase(url)])
    assert.deepEqual(reports.flatMap(report => report.applied).sort(), TAGS)
    assert.equal(reports.filter(report => report.applied.length > 0).length, 1)
  })

  test('gives up waiting for an instance that does not finish', async t => {
    const url = await emptyDatabase(t)
    const sql = client(t, url)
    await sql`select pg_advisory_lock(7266911473001)`
    await assert.rejects(
      migrateDatabase(url, { patience: 300 }),
      /another instance has been migrating this database for 300 ms/
    )
  })

  test('refuses a migration that was edited after it was applied', async t => {
    const { url, folder } = await migratedCopy(t)
    await edit(join(folder, '0001_triggers.sql'), text => `${text}-- harmless\n`)
    await assert.rejects(migrateDatabase(url, { folder }), /migration 0001_triggers was edited after it was applied/)
  })

  test('refuses a migration that precedes an applied one', async t => {
    const { url, folder } = await migratedCopy(t)
    await addMigration(folder, 1, '0001_late')
    await assert.rejects(
      migrateDatabase(url, { folder }),
      new RegExp(`migration 0001_late comes before ${TAGS.at(-1)}`)
    )
  })

  test('refuses a journal whose entries are not in chronological order', async t => {
    const { url, folder } = await migratedCopy(t)
    await addMigration(folder, NEXT, tagOf(NEXT, 'old'), { when: 1 })
    await assert.rejects(migrateDatabase(url, { folder }), /migration \d{4}_old is out of order in the journal/)
  })

  test('refuses a database that a newer version has migrated', async t => {
    const { url, folder } = await migratedCopy(t)
    await addMigration(folder, NEXT, tagOf(NEXT, 'new'))
    assert.deepEqual((await migrateDatabase(url, { folder })).applied, [tagOf(NEXT, 'new')])
    await assert.rejects(migrateDatabase(url), /the database has migration \d{4}_new, which this version does not know/)
  })

  test('rolls back a failed migration completely, and applies it once it is fixed', async t => {
    const { url, folder } = await migratedCopy(t)
    const sql = client(t, url)
    const statements = ['create table half (id int)', 'create table half (id int)']
    const file = await addMigration(folder, NEXT, tagOf(NEXT, 'broken'), { statements })
    await assert.rejects(migrateDatabase(url, { folder }), /migration \d{4}_broken failed and was rolled back/)
    assert.equal(await relation(sql, 'half'), null)

    await writeFile(file, 'create table half (id int)')
    assert.deepEqual((await migrateDatabase(url, { folder })).applied, [tagOf(NEXT, 'broken')])
    assert.equal(await relation(sql, 'half'), 'half')
  })

  test('is completed by the next attempt after an interruption', async t => {
    const { url, folder } = await migratedCopy(t)
    const sql = client(t, url)
    await addMigration(folder, NEXT, tagOf(NEXT, 'first'), { statements: ['create table first (id int)'] })
    await addMigration(folder, NEXT + 1, tagOf(NEXT + 1, 'slow'), {
      statements: ['create table second (id int)', 'select pg_sleep(30)']
    })

    const cutOff = assert.rejects(migrateDatabase(url, { folder }), /migration \d{4}_slow failed/)
    await terminateSleeper(sql)
    await cutOff
    assert.equal(await relation(sql, 'first'), 'first')
    assert.equal(await relation(sql, 'second'), null)

    await writeFile(join(folder, `${tagOf(NEXT + 1, 'slow')}.sql`), 'create table second (id int)')
    assert.deepEqual((await migrateDatabase(url, { folder })).applied, [tagOf(NEXT + 1, 'slow')])
  })

  test('rebuilds an index that an earlier attempt left invalid', async t => {
    const url = await freshDatabase(t)
    const sql = client(t, url)
    await sql`drop index idx_apps_created_at`
    await sql`insert into teams (name, slug) values ('twins', 'twins')`
    await sql`insert into apps (team_id, name, slug) select id, 'twin', s.slug from teams, (values ('one'), ('two')) s (slug)`
    const attempt = sql`create unique index concurrently idx_apps_created_at on apps (name)`
    await assert.rejects(async () => attempt, /could not create unique index/)
    assert.deepEqual((await migrateDatabase(url)).indexed, ['idx_apps_created_at'])
    const invalid = await sql`select from pg_index where not indisvalid`
    assert.equal(invalid.length, 0)
  })

  test('builds indexes while another session holds a transaction open on the table', async t => {
    const url = await freshDatabase(t)
    const sql = client(t, url)
    await sql`drop index idx_apps_created_at`
    const holder = client(t, url)
    await holder`begin`
    await holder`lock table apps in row exclusive mode`
    const building = migrateDatabase(url)
    await eventually(async () => (await sql`select from pg_stat_progress_create_index`).length > 0)
    await sql`insert into teams (name, slug) values ('writable', 'meanwhile')`
    await holder`commit`
    assert.deepEqual((await building).indexed, ['idx_apps_created_at'])
  })
})

suite('the schema', () => {
  test('contains the 28 regions, and one row of maintenance, which is off', async t => {
    const sql = client(t, await freshDatabase(t))
    const [regions] = await sql`select count(*)::int as n, count(distinct continent)::int as continents from regions`
    assert.deepEqual({ ...regions }, { n: 28, continents: 6 })
    const states = await sql`select id, enabled from maintenance_state`
    assert.deepEqual([...states], [{ id: 1, enabled: false }])
    await assert.rejects(() => sql`insert into maintenance_state (id) values (2)`, /single_row/)
  })

  test('sets updated_at on every update', async t => {
    const sql = client(t, await freshDatabase(t))
    await insertOneOfEach(sql)
    for (const table of ['users', 'teams', 'apps', 'env_vars', 'deployments', 'maintenance_state']) {
      await sql`update ${sql(table)} set updated_at = '2001-01-01'`
      const [row] = await sql`select updated_at > now() - interval '1 minute' as touched from ${sql(table)}`
      assert.equal(row?.touched, true, table)
    }
  })

  test('protects audit rows, except from a transaction that declares a purge', async t => {
    const sql = client(t, await freshDatabase(t))
    await sql`insert into audit_logs (event_type, action, resource) values ('auth', 'login', 'session')`
    for (const statement of ['update audit_logs set action = null', 'delete from audit_logs', 'truncate audit_logs'])
      await assert.rejects(() => sql.unsafe(statement), /audit_logs is append-only/)

    await sql`begin`
    await sql`set local rhone.audit_purge = 'on'`
    const purged = await sql`delete from audit_logs`
    await sql`commit`
    assert.equal(purged.count, 1)
    await sql`insert into audit_logs (event_type, action, resource) values ('auth', 'login', 'session')`
    await assert.rejects(() => sql`delete from audit_logs`, /append-only/)
  })
})

function client(t: TestContext, url: string): Sql {
  const sql = postgres(url, { max: 1, fetch_types: false, onnotice: () => {} })
  t.after(() => sql.end({ timeout: 1 }))
  return sql
}

/** A migrated database, and the migrations in a folder that may be changed. */
async function migratedCopy(t: TestContext): Promise<{ url: string; folder: string }> {
  const parent = await mkdtemp(join(tmpdir(), 'rhone-migrations-'))
  t.after(() => rm(parent, { recursive: true }))
  const folder = join(parent, 'migrations')
  await cp(MIGRATIONS_FOLDER, folder, { recursive: true })
  return { url: await freshDatabase(t), folder }
}

async function addMigration(
  folder: string,
  index: number,
  tag: string,
  { statements = ['select 1'], when }: { statements?: string[]; when?: number } = {}
): Promise<string> {
  const file = join(folder, `${tag}.sql`)
  await writeFile(file, statements.join('\n--> statement-breakpoint\n'))
  await edit(join(folder, 'meta', '_journal.json'), text => {
    const journal = JSON.parse(text)
    const entry = { tag, when: when ?? journal.entries[index - 1].when + 1 }
    journal.entries.splice(index, 0, entry)
    for (const [idx, each] of journal.entries.entries()) each.idx = idx
    return JSON.stringify(journal)
  })
  return file
}

async function edit(file: string, change: (text: string) => string): Promise<void> {
  await writeFile(file, change(await readFile(file, 'utf8')))
}

async function terminateSleeper(sql: Sql): Promise<void> {
  await eventually(async () => {
    const killed = await sql`select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and application_name = 'rhone-migrate' and query like '%pg_sleep%'`
    return killed.length > 0
  })
}

async function relation(sql: Sql, name: string): Promise<unknown> {
  const [row] = await sql`select to_regclass(${name})::text as name`
  return row?.name
}

async function insertOneOfEach(sql: Sql): Promise<void> {
  await sql`insert into users (username) values ('ada')`
  const [team] = await sql`insert into teams (name, slug) values ('Team', 'team') returning id`
  const [app] = await sql`insert into apps (team_id, name, slug) values (${team?.id}, 'App', 'app') returning id`
  await sql`insert into env_vars (app_id, key, value_encrypted, nonce, key_id) values (${app?.id}, 'K', '', '', 'k1')`
  await sql`insert into deployments (app_id) values (${app?.id})`
}
