import assert from 'node:assert/strict'
import { suite, type TestContext, test } from 'node:test'
import { Registry } from '@platformatic/prom-client'
import Fastify, { type FastifyInstance } from 'fastify'
import { postgresCacheBus } from '../../plugins/cache/bus-postgres.ts'
import cache, { type CacheBus, type CacheDeps, type CacheOptions } from '../../plugins/cache/index.ts'
import database from '../../plugins/database/index.ts'
import { setAhead } from '../support/clock.ts'
import { freshDatabase, terminateBackends } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'

suite('cache', () => {
  test('works without options, and keeps loaded values', async t => {
    const { counted, load } = counter()
    const values = (await start(t)).cache.of<number>('values')
    assert.deepEqual([await values.get('a', load), await values.get('a', load), await values.get('b', load)], [1, 1, 2])
    assert.equal(counted(), 2)
  })

  test('refuses a wrong option by name', async () => {
    await assert.rejects(async () => Fastify().register(cache, { max: 0 }), /rhone-cache: option "max"/)
  })

  test('is one cache per name, and one per app', async t => {
    const [one, other] = [await start(t), await start(t)]
    const { load } = counter()
    assert.equal(await one.cache.of<number>('values').get('key', load), 1)
    assert.equal(await one.cache.of<number>('values').get('key', load), 1)
    assert.equal(await one.cache.of<number>('others').get('key', load), 2)
    assert.equal(await other.cache.of<number>('values').get('key', load), 3)
  })

  test('loads a value once for concurrent readers', async t => {
    const values = (await start(t)).cache.of<number>('values')
    const { counted, load } = counter()
    const answers = await Promise.all(Array.from({ length: 50 }, () => values.get('key', load)))
    assert.deepEqual(new Set(answers), new Set([1]))
    assert.equal(counted(), 1)
  })

  test('reloads expired values', async t => {
    const values = (await start(t)).cache.of<number>('values', { ttl: 20 })
    const { load } = counter()
    await values.get('key', load)
    setAhead(t, performance, 30)
    assert.equal(await values.get('key', load), 2)
  })

  test('does not keep values loaded before an invalidation', async t => {
    const values = (await start(t)).cache.of<string>('values')
    const slow = Promise.withResolvers<string>()
    const early = values.get('key', () => slow.promise)
    await values.invalidate('key')
    assert.equal(await values.get('key', async () => 'new'), 'new')
    slow.resolve('old')
    assert.equal(await early, 'old')
    assert.equal(await values.get('key', async () => 'newer'), 'new')

    const slower = Promise.withResolvers<string>()
    const cleared = values.get('other', () => slower.promise)
    await values.clear()
    slower.resolve('old')
    await cleared
    assert.equal(await values.get('other', async () => 'new'), 'new')
  })

  test('caches no failures, and missing values only if configured', async t => {
    const app = await start(t)
    const values = app.cache.of<number | null>('values')
    await assert.rejects(
      values.get('key', async () => assert.fail('no')),
      /no/
    )
    await assert.rejects(
      values.get('key', () => {
        throw new Error('not even a promise')
      }),
      /not even/
    )
    assert.equal(await values.get('key', async () => null), null)
    assert.equal(await values.get('key', async () => 1), 1)

    const missing = app.cache.of<number | null>('missing', { missingTtl: 1_000 })
    assert.equal(await missing.get('key', async () => null), null)
    assert.equal(await missing.get('key', async () => 1), null)
  })

  test('serves a stale value when loading fails, if configured, but none that was invalidated', async t => {
    const values = (await start(t)).cache.of<string>('values', { ttl: 10, staleIfError: 10_000 })
    const failing = () => Promise.reject(new Error('down'))
    await values.get('key', async () => 'old')
    setAhead(t, performance, 20)
    assert.equal(await values.get('key', failing), 'old')
    assert.equal(await values.get('key', async () => 'new'), 'new')
    await values.invalidate('key')
    await assert.rejects(values.get('key', failing), /down/)
  })

  test('caches a failure or keeps the stale value for the configured time', async t => {
    const app = await start(t)
    const settings = { ttl: 1_000, staleIfError: 10_000, errorTtl: 500 }
    const { counted, load: count } = counter()
    const failing = async () => {
      await count()
      throw new Error('down')
    }
    const values = app.cache.of<number>('values', settings)
    await assert.rejects(values.get('key', failing), /down/)
    await assert.rejects(values.get('key', failing), /down/)
    assert.equal(counted(), 1)
    setAhead(t, performance, 600)
    assert.equal(await values.get('key', async () => 7), 7)
    setAhead(t, performance, 1_700)
    assert.deepEqual([await values.get('key', failing), await values.get('key', failing), counted()], [7, 7, 2])
    setAhead(t, performance, 20_000)
    await assert.rejects(values.get('key', failing), /down/)
  })

  test('refreshes a busy key before it expires, while readers use the current value', async t => {
    const values = (await start(t)).cache.of<number>('values', { ttl: 1_000, refreshAfter: 0.5 })
    const { load } = counter()
    await values.get('key', load)
    setAhead(t, performance, 600)
    assert.equal(await values.get('key', load), 1)
    await eventually(async () => (await values.get('key', load)) === 2)
  })

  test('spreads the expiry of values loaded together', async t => {
    const values = (await start(t)).cache.of<number>('values', { ttl: 10_000 })
    const { load } = counter()
    const keys = Array.from({ length: 100 }, (_, index) => String(index))
    for (const key of keys) await values.get(key, load)
    setAhead(t, performance, 9_500)
    const answers = await Promise.all(keys.map(key => values.get(key, load)))
    const again = answers.filter(answer => answer > 100).length
    assert.ok(again > 0 && again < 100, String(again))
  })

  test('aborts a load that takes too long, and discards its late result', async t => {
    const values = (await start(t)).cache.of<string>('values', { loadTimeout: 20 })
    const slow = Promise.withResolvers<string>()
    await assert.rejects(
      values.get('key', () => slow.promise),
      /within 20 ms/
    )
    slow.resolve('late')
    assert.equal(await values.get('key', async () => 'new'), 'new')
  })

  test('is also limited in bytes, and accepts no value larger than the cache', async t => {
    const values = (await start(t)).cache.of<string>('values', { maxBytes: 100 })
    const { counted, load } = counter()
    const big = async () => `${await load()}${'x'.repeat(60)}`
    await values.get('a', big)
    await values.get('b', big)
    await values.get('a', big)
    assert.equal(counted(), 3)
    const huge = async () => `${await load()}${'x'.repeat(200)}`
    await values.get('c', huge)
    await values.get('c', huge)
    assert.equal(counted(), 5)
  })

  test('is warmed up for named keys; a failure leaves it cold', async t => {
    const registry = new Registry()
    const app = await start(t, { registry })
    const values = app.cache.of<string>('values')
    values.warm(['a', 'b'], async key => (key === 'b' ? assert.fail('no') : key))
    await app.cache.warmUp()
    assert.equal(await values.get('a', () => assert.fail('loaded')), 'a')
    assert.match(await registry.metrics(), /rhone_cache_entries\{cache="values"\} 1/)
  })

  test('is limited in size, and evicts the least recently used value', async t => {
    const values = (await start(t)).cache.of<number>('values', { max: 2 })
    const { load } = counter()
    await values.get('a', load)
    await values.get('b', load)
    await values.get('a', load)
    await values.get('c', load)
    assert.equal(await values.get('a', load), 1)
    assert.equal(await values.get('b', load), 4)
  })

  test('counts look-ups by outcome, and evictions', async t => {
    const registry = new Registry()
    const app = await start(t, { registry })
    const values = app.cache.of<number>('values', { ttl: 20, max: 1, staleIfError: 10_000 })
    const { load } = counter()
    await Promise.all([values.get('a', load), values.get('a', load)])
    await values.get('b', load)
    setAhead(t, performance, 30)
    const failing = () => Promise.reject(new Error('down'))
    await values.get('b', failing)
    await assert.rejects(values.get('c', failing))
    const text = await registry.metrics()
    for (const [outcome, count] of Object.entries({ hit: 1, miss: 2, stale: 1, error: 1 }))
      assert.match(text, new RegExp(`rhone_cache_requests_total\\{cache="values",outcome="${outcome}"\\} ${count}`))
    assert.match(text, /rhone_cache_evictions_total\{cache="values"\} 1/)
  })
})

suite('invalidation on other instances', () => {
  test('is sent over the bus, for one key and for all', async t => {
    const bus = fakeBus()
    const [here, there] = [await start(t, { bus }), await start(t, { bus })]
    const [mine, theirs] = [here.cache.of<number>('values'), there.cache.of<number>('values')]
    const { load } = counter()
    await theirs.get('a', load)
    await theirs.get('b', load)
    await mine.invalidate('a')
    assert.equal(await theirs.get('a', load), 3)
    assert.equal(await theirs.get('b', load), 2)
    await mine.clear()
    assert.equal(await theirs.get('b', load), 4)
  })

  test('is unknown after a gap, so everything is evicted', async t => {
    const bus = fakeBus()
    const values = (await start(t, { bus })).cache.of<number>('values')
    const { load } = counter()
    await values.get('a', load)
    bus.gap()
    assert.equal(await values.get('a', load), 2)
  })

  test('is unknown after a gap, so warm values are reloaded in advance', async t => {
    const bus = fakeBus()
    const app = await start(t, { bus })
    const values = app.cache.of<number>('values')
    const { counted, load } = counter()
    values.warm(['a'], load)
    bus.gap()
    assert.equal(counted(), 0, 'nothing is warm yet')
    await app.cache.warmUp()
    bus.gap()
    await eventually(() => counted() === 2)
    assert.equal(await values.get('a', load), 2)
  })

  test('may fail without failing the change', async t => {
    const bus: CacheBus = { ...fakeBus(), publish: () => Promise.reject(new Error('bus is down')) }
    const values = (await start(t, { bus })).cache.of<number>('values')
    const { load } = counter()
    await values.get('a', load)
    await values.invalidate('a')
    assert.equal(await values.get('a', load), 2)
  })

  test('is sent through PostgreSQL, even for long keys, and after a lost connection', async t => {
    const url = await freshDatabase(t)
    const [here, there] = [await startOnPostgres(t, url), await startOnPostgres(t, url)]
    const { load } = counter()
    const theirs = there.cache.of<number>('values')
    const mine = here.cache.of<number>('values')
    const long = 'k'.repeat(9_000)
    for (const key of ['short', long]) {
      const before = await theirs.get(key, load)
      await mine.invalidate(key)
      await eventually(async () => (await theirs.get(key, load)) > before)
    }

    const before = await theirs.get('short', load)
    await terminateBackends(url)
    await eventually(async () => (await theirs.get('short', load)) > before)
  })
})

async function start(t: TestContext, options: Partial<CacheOptions> & CacheDeps = {}): Promise<FastifyInstance> {
  const app = Fastify()
  app.register(cache, Object.freeze(options))
  await app.ready()
  t.after(() => app.close())
  return app
}

async function startOnPostgres(t: TestContext, url: string): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(database, { url })
  await app.register(cache, { bus: postgresCacheBus(app) })
  t.after(() => app.close())
  const listening = Promise.withResolvers<void>()
  await app.ready()
  await app.postgres.listen('rhone_cache', () => {}, listening.resolve)
  await listening.promise
  return app
}

function counter() {
  let loads = 0
  return { counted: () => loads, load: async () => ++loads }
}

function fakeBus(): CacheBus & { gap(): void } {
  const subscribers: Parameters<CacheBus['subscribe']>[] = []
  return {
    publish: async (name, key) => {
      for (const [onInvalidated] of subscribers) onInvalidated(name, key)
    },
    subscribe: async (...subscriber) => {
      subscribers.push(subscriber)
      return async () => {}
    },
    gap: () => {
      for (const [, onGap] of subscribers) onGap()
    }
  }
}
