import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import Fastify from 'fastify'
import { quotaOf } from '../../plugins/rate-limit/gcra.ts'
import rateLimit, { createSharedBuckets, releaseSharedBuckets } from '../../plugins/rate-limit/index.ts'
import { parseRate } from '../../plugins/rate-limit/rate.ts'
import { SharedStore } from '../../plugins/rate-limit/store-shared.ts'

const quota = (rate: string) => quotaOf(parseRate(rate))
const stranger = (index: number) => `2001:db8:${index.toString(16)}::/64`

/** Runs `body` on a separate thread, with `store`, `quota` and `port` in scope. */
function thread(buckets: SharedArrayBuffer, body: string, clock = ''): Worker {
  const path = (name: string) => new URL(`../../plugins/rate-limit/${name}.ts`, import.meta.url).href
  const code = `
    const { parentPort: port, workerData } = require('node:worker_threads')
    Promise.all([import('${path('store-shared')}'), import('${path('gcra')}'), import('${path('rate')}')]).then(
      ([{ SharedStore }, { quotaOf }, { parseRate }]) => {
        const quota = rate => quotaOf(parseRate(rate))
        const store = new SharedStore(workerData${clock && `, undefined, ${clock}`})
        ${body}
      }
    )`
  return new Worker(code, { eval: true, workerData: buckets })
}

test('threads that count at the same time grant exactly one limit', async () => {
  const buckets = createSharedBuckets()
  const body = `
    let granted = 0
    for (let i = 0; i < 20_000; i++) if (store.take('auth', '192.0.2.1', quota('1/d:5000')).allowed) granted++
    port.postMessage(granted)`
  const counts = await Promise.all([1, 2].map(() => once(thread(buckets, body), 'message')))
  assert.equal(
    counts.reduce((sum, [granted]) => sum + granted, 0),
    5000
  )
  assert.equal(new SharedStore(buckets).take('auth', '192.0.2.1', quota('1/d:5000')).allowed, false)
})

test('locks of a terminated thread can be released', async () => {
  const buckets = createSharedBuckets()
  const held = `() => { port.postMessage('held'); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0) }`
  const worker = thread(buckets, `store.take('auth', 'a', quota('1/d:1'))`, held)
  const { threadId } = worker
  await once(worker, 'message')
  await worker.terminate()
  releaseSharedBuckets(buckets, threadId)
  assert.equal(new SharedStore(buckets).take('auth', 'a', quota('1/d:1')).allowed, true)
})

test('a table at its capacity has hardly any shared buckets', () => {
  const store = new SharedStore(createSharedBuckets(10_000), undefined, () => 0)
  let granted = 0
  for (let i = 0; i < 10_000; i++) if (store.take('strict', stranger(i), quota('1/d:1')).allowed) granted++
  assert.ok(granted > 9_900, `${granted} of 10000`)
})

test('a flood of new addresses is granted no more than the capacity of the table, and resets no other key', () => {
  let now = 0
  const store = new SharedStore(createSharedBuckets(8), undefined, () => now)
  const take = (key: string) => store.take('strict', key, quota('1/m:2')).allowed
  assert.deepEqual(
    [1, 2, 3].map(() => take('throttled')),
    [true, true, false]
  )
  let granted = 0
  for (let i = 0; i < 10_000; i++) if (take(stranger(i))) granted++
  assert.ok(granted <= 2 * 9 * 2, `${granted} granted`)
  assert.equal(take('throttled'), false)
  now = 120_000
  assert.deepEqual(
    [1, 2, 3].map(() => take('newcomer')),
    [true, true, false],
    'full buckets make room'
  )
})

test('classes are counted separately, and one without buckets is refused', () => {
  const store = new SharedStore(createSharedBuckets(8), undefined, () => 0)
  const take = (rateClass: string) => store.take(rateClass, 'a', quota('1/m:1')).allowed
  assert.deepEqual(['auth', 'strict', 'auth'].map(take), [true, true, false])
  assert.throws(() => take('unheard-of'), /"unheard-of"/)
})

test('two apps with the same buckets share their counts', async t => {
  const buckets = createSharedBuckets()
  const apps = await Promise.all(
    [1, 2].map(async () => {
      const app = Fastify()
      t.after(() => app.close())
      await app.register(rateLimit, { buckets, general: { ratePerSecond: 0.001, burst: 3 } })
      app.get('/', async () => 'here')
      return app
    })
  )
  const statuses: number[] = []
  for (let i = 0; i < 5; i++) statuses.push((await apps[i % 2]!.inject('/')).statusCode)
  assert.deepEqual(statuses, [200, 200, 200, 429, 429])
})

test('classes of an app are shared by threads like those of the plugin, and both sides agree on how many there are', async t => {
  const buckets = createSharedBuckets(8, 1)
  const apps = await Promise.all(
    [1, 2].map(async () => {
      const app = Fastify()
      t.after(() => app.close())
      await app.register(rateLimit, { buckets, classes: { upload: { ratePerSecond: 1 / 3600, burst: 1 } } })
      return app
    })
  )
  const taken = apps.map(app => app.rateLimiter.take('upload' as 'general', 'someone').allowed)
  assert.deepEqual(taken, [true, false])

  await assert.rejects(
    async () => Fastify().register(rateLimit, { buckets }),
    /the shared buckets are for 7 rate classes, not for 6/
  )
})
