import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { eq, sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import Fastify from 'fastify'
import postgres, { type Sql } from 'postgres'
import { regions, teams } from '../../drizzle/schema.ts'
import database from '../../plugins/database/index.ts'
import { quickQueriesWork } from '../../plugins/database/quick-check.ts'
import type { Drizzle } from '../../plugins/database/quick-queries.ts'
import { statementsWork } from '../../plugins/database/statement.ts'
import { errors } from '../../plugins/lib/errors.ts'
import { freshDatabase } from '../support/database.ts'

/** Drizzle with altered prepared queries. */
const changed = (change: (prepared: Record<string, unknown>) => void) => (client: Sql) => {
  const db = drizzle(client, { casing: 'snake_case' }) as unknown as Drizzle
  const { session } = db._
  const prepare = session.prepareQuery.bind(session)
  session.prepareQuery = (...query) => {
    const prepared = prepare(...query)
    change(prepared as unknown as Record<string, unknown>)
    return prepared as never
  }
  return db
}

test('quick queries send and return the same as drizzle', async () => {
  assert.equal(await quickQueriesWork(), true)
})

test('a drizzle with other query properties is detected', async () => {
  for (const name of ['queryString', 'params', 'fields', 'client']) {
    const renamed = changed(prepared => {
      const { execute } = prepared as { execute(): unknown }
      const itself = Object.assign(Object.create(prepared), { [name]: prepared[name] })
      prepared.execute = execute.bind(itself)
      prepared[name] = undefined
    })
    assert.equal(await quickQueriesWork(renamed), false, name)
  }
})

test('a drizzle without `prepareQuery` is detected', async () => {
  const without = (client: Sql) => {
    const db = drizzle(client, { casing: 'snake_case' }) as unknown as Drizzle
    Object.assign(db._.session, { prepareQuery: undefined })
    return db
  }
  assert.equal(await quickQueriesWork(without), false)
})

test('a drizzle that converts values differently is detected', async () => {
  const other = changed(prepared => {
    const execute = prepared.execute as () => Promise<unknown>
    prepared.execute = async function (this: unknown, ...given: []) {
      return structuredClone([await execute.apply(this, given)])
    }
  })
  assert.equal(await quickQueriesWork(other), false)
})

test('a driver whose queries have other members is detected', () => {
  const query = () => postgres({ max: 1 }).unsafe('')
  assert.equal(statementsWork(), true)
  assert.equal(statementsWork(Object.assign(query(), { another: 1 })), false)
  for (const name of Object.keys(query())) {
    const without = query()
    delete without[name as never]
    assert.equal(statementsWork(without), false, name)
  }
  assert.equal(statementsWork(Object.assign(query(), { handler: undefined })), false)
})

async function start(t: TestContext, quickQueries: boolean) {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(database, { url: await freshDatabase(t), quickQueries })
  return app.db
}

test('the shortcut can be switched off: rows, transactions and errors are the same', async t => {
  const outcomes = await Promise.all(
    [true, false].map(async quickQueries => {
      const db = await start(t, quickQueries)
      const refusal = await db
        .transaction(async tx => {
          await tx.insert(teams).values({ name: 'A', slug: 'a' })
          throw errors.conflict('no')
        })
        .catch(error => error.message)
      const failure = await db.execute(sql`select 1 / 0`).catch(error => (error.cause ?? error).code)
      const objects = await db.execute(sql`select ${7}::int as number, ${true}::bool as flag, null as nothing`)
      const fra = await db.select().from(regions).where(eq(regions.code, 'fra'))
      return { refusal, failure, objects: [...objects], fra, teams: await db.select({ slug: teams.slug }).from(teams) }
    })
  )
  assert.deepEqual(outcomes[0], outcomes[1])
  assert.equal(outcomes[0]!.fra.length, 1)
  assert.deepEqual([outcomes[0]!.failure, outcomes[0]!.teams], ['22012', []])
})
