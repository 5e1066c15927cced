import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import Fastify from 'fastify'
import { webhookDeliveries } from '../../../drizzle/schema.ts'
import github from '../../../integrations/github/index.ts'
import type { JobContext } from '../../../plugins/jobs/port.ts'
import { dueFor, webhookRedeliveries } from '../../../src/workflows/deploying/redeliveries.ts'
import { openDatabase } from '../../domain/support.ts'
import { deliver, startFakeGithub } from '../../fakes/github/server.ts'

const MINUTE = 60_000
const now = Date.now()
const attempt = (guid: string, minutesAgo: number, succeeded = false) => ({
  id: `${guid}-${minutesAgo}`,
  guid,
  deliveredAt: new Date(now - minutesAgo * MINUTE),
  succeeded
})
const due = (...deliveries: ReturnType<typeof attempt>[]) => dueFor(deliveries, now).map(({ id }) => id)

test('a failed delivery is requested again after a pause that doubles, until it arrives or after ten attempts', () => {
  assert.deepEqual(due(attempt('a', 1)), [])
  assert.deepEqual(due(attempt('a', 3)), ['a-3'])
  assert.deepEqual(due(attempt('a', 3), attempt('a', 10)), [])
  assert.deepEqual(due(attempt('a', 5), attempt('a', 10)), ['a-5'])
  assert.deepEqual(due(attempt('a', 5, true), attempt('a', 10)), [])
  assert.deepEqual(due(...Array.from({ length: 10 }, (_, i) => attempt('a', 2_000 + i))), [])
})

test('the earliest comes first', () => {
  assert.deepEqual(due(attempt('b', 5), attempt('a', 9), attempt('c', 3)), ['a-9', 'b-5', 'c-3'])
})

async function setup(t: TestContext) {
  const fake = await startFakeGithub()
  const server = Fastify()
  t.after(() => Promise.all([fake.close(), server.close()]))
  const { id: appId, slug, privateKey } = fake.app
  await server.register(github, { appId, slug, privateKey, url: fake.url, apiUrl: fake.url })
  const db = await openDatabase(t)
  const queue = webhookRedeliveries({ db: () => db, github: server.github })
  const run = (signal = new AbortController().signal) => queue.run({}, { signal, log: server.log } as JobContext)
  /** A missed delivery. */
  const miss = async (minutesAgo: number) => {
    const delivery = await deliver(fake, 'push', { n: minutesAgo })
    delivery.delivered_at = new Date(Date.now() - minutesAgo * MINUTE).toISOString()
    return delivery.guid
  }
  const attemptsOf = (guid: string) => fake.deliveries.filter(delivery => delivery.guid === guid).length
  return { fake, db, run, miss, attemptsOf }
}

test('after an outage, GitHub is asked for missing deliveries only, once per run', async t => {
  const { db, run, miss, attemptsOf } = await setup(t)
  const lost = await miss(10)
  const recent = await miss(0)
  const stored = await miss(20)
  const ancient = await miss(4 * 24 * 60)
  await db
    .insert(webhookDeliveries)
    .values({ source: 'github', deliveryId: stored, event: 'push', payload: Buffer.from('{}') })
  await run()
  assert.deepEqual([lost, recent, stored, ancient].map(attemptsOf), [2, 1, 1, 1])
  // The second attempt has failed as well, just now.
  await run()
  assert.equal(attemptsOf(lost), 2)
})

test('nothing is requested if nothing is missing, and a stopped run requests no more', async t => {
  const { run, miss, attemptsOf, fake } = await setup(t)
  await run()
  const guids = [await miss(10), await miss(11)]
  await assert.rejects(run(AbortSignal.abort(new Error('stopping'))), /stopping/)
  assert.deepEqual(guids.map(attemptsOf), [1, 1])
  assert.ok(!fake.requests.some(({ path }) => path.endsWith('/attempts')))
})
