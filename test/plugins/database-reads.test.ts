import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { sql } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import { regions } from '../../drizzle/schema.ts'
import { statement } from '../../src/domain/base/db.ts'
import { databaseApp, sleep } from '../support/database-app.ts'
import { eventually } from '../support/eventually.ts'

/** Opens so many connections, so that none has to be opened later. A busy machine may take longer than queries wait. */
const warmUp = (app: FastifyInstance, connections: number) =>
  eventually(() =>
    Promise.all(Array.from({ length: connections }, () => sleep(app, 0.1))).then(
      () => true,
      () => false
    )
  )

/** A read that takes a number of seconds: a subquery is evaluated once, not for each row. */
const sleepingRead = (app: FastifyInstance, seconds: number) =>
  app.postgres.reads
    .select({ code: regions.code })
    .from(regions)
    .where(sql`code = 'iad' and (select pg_sleep(${seconds})) is not null`)
    .execute()

suite('reads on a shared connection', () => {
  test('are all answered by a slow database, however long they take in total', async t => {
    const { app } = await databaseApp(t, { poolMax: 1, pipeline: 8, statementTimeout: 500 })
    await warmUp(app, 1)
    const reads = Array.from({ length: 8 }, () => sleepingRead(app, 0.3))
    for (const rows of await Promise.all(reads)) assert.equal(rows.length, 1)
  })

  test('that were dispatched together to waiting readers are rescued from a slow one, too', async t => {
    const { app } = await databaseApp(t, { poolMax: 2, pipeline: 8 })
    await warmUp(app, 2)
    const holders = [sleep(app, 0.1), sleep(app, 0.4)]
    const slow = sleepingRead(app, 1.5).then(() => 'slow')
    const quick = Promise.all([sleepingRead(app, 0), sleepingRead(app, 0)]).then(() => 'quick')
    await eventually(
      () => app.postgres.stats.waiting,
      waiting => waiting === 3
    )
    assert.equal(await Promise.race([slow, quick]), 'quick')
    await Promise.all([...holders, slow])
  })

  test('survive a refused rescue: their own query may still answer', async t => {
    const { app } = await databaseApp(t, { poolMax: 2, queueTimeout: 100 })
    await warmUp(app, 2)
    const busy = sleep(app, 1.2)
    await eventually(
      () => app.postgres.stats.inUse,
      inUse => inUse === 1
    )
    const found = await Promise.all([sleepingRead(app, 0.5), sleepingRead(app, 0)])
    assert.deepEqual(
      found.map(rows => rows.length),
      [1, 1]
    )
    await busy
  })
})

test('a select that changes something runs once, however long it waits behind others', async t => {
  const { app } = await databaseApp(t, { poolMax: 2 })
  await app.db.execute(sql`create sequence calls`)
  await warmUp(app, 2)
  const calling = statement(db =>
    db
      .select({ code: regions.code, call: sql<string>`nextval('calls')` })
      .from(regions)
      .where(sql`code = 'iad'`)
      .prepare('calling')
  )
  await Promise.all([sleepingRead(app, 0.4), calling(app.db).execute()])
  const [row] = await app.db.execute(sql`select last_value::integer as calls from calls`)
  assert.equal(row?.calls, 1)
})
