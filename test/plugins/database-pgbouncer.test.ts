import assert from 'node:assert/strict'
import { suite, type TestContext, test } from 'node:test'
import { eq, sql } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import { apiTokens, regions, users } from '../../drizzle/schema.ts'
import type { DatabaseOptions } from '../../plugins/database/index.ts'
import { freshDatabase } from '../support/database.ts'
import { databaseApp } from '../support/database-app.ts'
import { pgbouncer } from '../support/pgbouncer.ts'

/** Poolers are often configured to ignore unsupported parameters. */
const OVERLOOK =
  'ignore_startup_parameters = statement_timeout,lock_timeout,idle_in_transaction_session_timeout,extra_float_digits'
/** Every transaction gets another session of the server. */
const ROUND_ROBIN = ['default_pool_size = 4', 'server_round_robin = 1', 'min_pool_size = 4']

const HASH = Buffer.from([0, 1, 92, 120, 254, 255])

/** Runs several kinds of queries and transactions concurrently, and checks each result. */
async function exercise(app: FastifyInstance): Promise<void> {
  const { db } = app
  const { reads } = app.postgres
  const [user] = await db.insert(users).values({ username: 'ada', isAdmin: true }).returning()
  const token = {
    userId: user!.id,
    name: 'ci',
    tokenHash: HASH,
    prefix: 'rhone_ab',
    scopes: ['read' as const, 'deploy' as const]
  }
  await db.insert(apiTokens).values(token)
  const checks = [
    async () => {
      const [found] = await reads.select().from(apiTokens).where(eq(apiTokens.tokenHash, HASH))
      assert.deepEqual([found?.name, found?.scopes], ['ci', ['read', 'deploy']])
    },
    async () => {
      const [found] = await db.select().from(users).where(eq(users.isAdmin, true))
      assert.equal(found?.username, 'ada')
    },
    async () => {
      const [found] = await db.select({ code: regions.code }).from(regions).where(eq(regions.code, 'ams'))
      assert.equal(found?.code, 'ams')
    },
    () =>
      db.transaction(async tx => {
        const [found] = await tx.update(users).set({ isAdmin: true }).where(eq(users.id, user!.id)).returning()
        assert.equal(found?.isAdmin, true)
        await tx.execute(sql`select pg_sleep(0.001)`)
      })
  ]
  for (let round = 0; round < 20; round++)
    await Promise.all(Array.from({ length: 12 }, (_, at) => checks[at % checks.length]!()))
}

suite('behind PgBouncer in transaction mode', () => {
  const start = async (t: TestContext, settings: readonly string[], options: Partial<DatabaseOptions> = {}) => {
    const url = await pgbouncer(t, await freshDatabase(t), [...settings, ...ROUND_ROBIN])
    if (url === undefined) return
    const { app } = await databaseApp(t, { url, poolMax: 8, ...options })
    assert.equal(await app.postgres.ping(2_000), 'writable')
    return app
  }

  for (const [name, settings] of [
    ['that refuses the parameters of our sessions', []],
    ['that overlooks the parameters of our sessions', [OVERLOOK]]
  ] as const)
    test(`${name}, every query gets its own answer`, async t => {
      const app = await start(t, settings)
      if (app !== undefined) await exercise(app)
    })

  test('that loses prepared statements, values are encoded once, and then nothing is prepared', async t => {
    const app = await start(t, [OVERLOOK], { prepare: true })
    if (app === undefined) return
    // A transaction may fail before the cause is known; the error says so, and nothing is changed.
    await exercise(app).catch(error => assert.equal(error.code, 'SERVICE_UNAVAILABLE'))
    await app.db.delete(users)
    await exercise(app)
  })

  test('an error of PgBouncer itself counts as an unreachable database', async t => {
    const app = await start(t, ['max_client_conn = 2'])
    if (app === undefined) return
    const queries = Array.from({ length: 6 }, () => app.db.execute(sql`select pg_sleep(0.05)`))
    for (const result of await Promise.allSettled(queries))
      if (result.status === 'rejected') assert.equal(result.reason.code, 'SERVICE_UNAVAILABLE')
  })
})

for (const quickQueries of [true, false])
  test(`a statement whose result type changed is answered, and its values are encoded once; ${
    quickQueries ? 'handed to the driver directly' : 'as a query of the driver'
  }`, async t => {
    const { app } = await databaseApp(t, { poolMax: 1, quickQueries })
    await app.db.execute(sql`create table plans (hash bytea, flag boolean, size integer)`)
    const insert = () =>
      app.db.execute(sql`insert into plans (hash, flag, size) values (${HASH}, ${true}, 1) returning *`)
    await insert()
    await insert()
    await app.db.execute(sql`alter table plans alter column size type text`)
    // All at once: the others are in flight when the first is found to be outdated.
    for (const [row] of await Promise.all([insert(), insert(), insert()]))
      assert.deepEqual(row, { hash: HASH, flag: true, size: '1' })
  })
