import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { glob, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Duplex, Transform } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { eq } from 'drizzle-orm'
import Fastify, { type FastifyInstance } from 'fastify'
import { users } from '../drizzle/schema.ts'
import { AccessTokensOptions } from '../plugins/access-tokens/index.ts'
import { AuthOptions } from '../plugins/auth/index.ts'
import database from '../plugins/database/index.ts'
import { GaugesOptions } from '../plugins/gauges.ts'
import { HealthOptions } from '../plugins/health/index.ts'
import { MetricsOptions } from '../plugins/metrics/index.ts'
import { SessionOptions } from '../plugins/session/index.ts'
import { buildApp } from '../src/app.ts'
import { setOperator } from '../src/domain/accounts/operators.ts'
import { CACHE_CHANNEL, CACHES, type CachePolicy, forgetCached } from '../src/domain/base/caches.ts'
import { testApp } from './support/app.ts'
import { setAhead, stopClock } from './support/clock.ts'
import { freshDatabase } from './support/database.ts'
import { eventually } from './support/eventually.ts'
import { tcpProxy } from './support/tcp-proxy.ts'

const document = await readFile(join(import.meta.dirname, '../docs/CACHING_STRATEGY.md'), 'utf8')
const cellsOf = (row: string) =>
  row
    .split('|')
    .map(cell => cell.trim())
    .slice(1, -1)

test('docs/CACHING_STRATEGY.md has the current settings of every cache', () => {
  const rows = document.matchAll(/^\| `[\w-]+` \| \d.*$/gm)
  const expected = Object.entries<CachePolicy>(CACHES).map(([name, policy]) => {
    const { ttl, max, refreshAfter, staleIfError, errorTtl, maxBytes, warm } = policy
    return [
      `\`${name}\``,
      ...[ttl, max, refreshAfter, staleIfError, errorTtl, maxBytes].map(String),
      warm.join() || '-'
    ]
  })
  assert.deepEqual(
    [...rows].map(([row]) => cellsOf(row)),
    expected
  )
})

test('docs/CACHING_STRATEGY.md has the current defaults of the plugins that cache', () => {
  const schemas = {
    auth: AuthOptions,
    session: SessionOptions,
    'access-tokens': AccessTokensOptions,
    health: HealthOptions,
    gauges: GaugesOptions,
    metrics: MetricsOptions
  }
  const rows = [...document.matchAll(/^\| [^|]+ \| `([\w-]+)` `(\w+)` \| (\d+) \|$/gm)]
  assert.equal(rows.length, 8)
  for (const [, plugin, option, value] of rows) {
    const { properties } = schemas[plugin as keyof typeof schemas] as {
      properties: Record<string, { default?: unknown }>
    }
    assert.equal(properties[option!]?.default, Number(value), `${plugin} ${option}`)
  }
})

/**
 * Two instances that have cached that their caller is an operator, and a clock by which nothing cached grows old.
 *
 * @param directUrl where the other one listens
 */
async function twoInstances(t: TestContext, url: string, directUrl = url) {
  const one = await testApp(t, { DATABASE_URL: url })
  const other = await buildApp({ ...one.config, database: { ...one.config.database, directUrl } })
  t.after(() => other.close())
  await other.ready()
  await other.startup.completed
  const { id } = (await one.as(one.token, 'GET', '/api/v1/me')).json()
  await one.app.db.insert(users).values({ username: 'second', isAdmin: true })

  const headers = { authorization: `Bearer ${one.token}` }
  const isOperator = async (app: FastifyInstance) =>
    (await app.inject({ url: '/api/v1/me', headers })).json().isOperator as boolean
  stopClock(t, performance)
  for (const app of [one.app, other]) assert.equal(await isOperator(app), true)

  const heard: string[] = []
  /** Resolves once an instance has received everything that was committed until now. */
  async function caughtUp(app: FastifyInstance): Promise<void> {
    const listening = Promise.withResolvers<void>()
    await app.postgres.listen(CACHE_CHANNEL, payload => heard.push(payload), listening.resolve)
    await listening.promise
    const marker = randomUUID()
    await forgetCached(one.app.db, 'profiles', marker)
    await eventually(() => heard.some(payload => payload.includes(marker)))
  }
  return { one: one.app, other, id, isOperator, heard, caughtUp }
}

test('a change that is rolled back leaves the caches of all instances as they are', async t => {
  const { one, other, id, isOperator, heard, caughtUp } = await twoInstances(t, await freshDatabase(t))
  await caughtUp(other)
  const changing = one.db.transaction(async tx => {
    await setOperator(tx, id, false)
    throw new Error('changed my mind')
  })
  await assert.rejects(changing, /changed my mind/)
  await caughtUp(other)
  assert.ok(!heard.some(payload => payload.includes(id)))
  for (const app of [one, other]) {
    assert.equal(await isOperator(app), true)
    const kept = await app.cache.of<{ isOperator: boolean }>('profiles').get(id, () => assert.fail('was dropped'))
    assert.equal(kept.isOperator, true)
  }
})

test('a change is unknown to all instances until it commits, and known to each in its next read', async t => {
  const { one, other, id, isOperator, caughtUp } = await twoInstances(t, await freshDatabase(t))
  const held = Promise.withResolvers<void>()
  const made = Promise.withResolvers<void>()
  const changing = one.db.transaction(async tx => {
    await setOperator(tx, id, false)
    made.resolve()
    await held.promise
  })
  await made.promise
  for (const app of [one, other]) {
    await caughtUp(app)
    assert.equal(await isOperator(app), true)
  }
  held.resolve()
  await changing
  for (const app of [one, other]) {
    await caughtUp(app)
    assert.equal(await isOperator(app), false)
  }
})

test('an instance that is cut off while it commits leaves no old value with the others', async t => {
  const url = await freshDatabase(t)
  const { other, id, isOperator, caughtUp } = await twoInstances(t, url)
  const proxy = await tcpProxy(t, url)
  let isCutOff = false
  proxy.handle = (client, passOn) => {
    const replies = new Transform({ transform: (chunk, _, done) => done(null, isCutOff ? undefined : chunk) })
    replies.pipe(client)
    passOn(Duplex.from({ readable: client, writable: replies }))
  }
  const dying = Fastify()
  t.after(() => dying.close())
  await dying.register(database, { url: proxy.url })
  const changing = dying.db.transaction(async tx => {
    await setOperator(tx, id, false)
    isCutOff = true
  })
  changing.catch(() => {})
  const committed = () => other.db.select().from(users).where(eq(users.id, id))
  await eventually(async () => (await committed())[0]?.isAdmin === false)
  await proxy.stop()
  await assert.rejects(changing)
  await caughtUp(other)
  assert.equal(await isOperator(other), false)
})

test('an instance that missed the notification of a change drops everything when it listens again', async t => {
  const url = await freshDatabase(t)
  const proxy = await tcpProxy(t, url)
  const { one, other, id, isOperator, caughtUp } = await twoInstances(t, url, proxy.url)
  await caughtUp(other)
  await proxy.stop()
  await one.db.transaction(tx => setOperator(tx, id, false))
  await caughtUp(one)
  assert.deepEqual([await isOperator(one), await isOperator(other)], [false, true])
  await proxy.start()
  await caughtUp(other)
  assert.equal(await isOperator(other), false)
})

test('more than four of five look-ups in each cache are hits under the mix of requests of a busy minute', async t => {
  const { as, token } = await testApp(t, { RATE_LIMIT_USER: '1000/s:1000', RATE_LIMIT_GENERAL: '1000/s:1000' })
  const { slug } = (await as(token, 'POST', '/api/v1/apps', { name: 'busy' })).json()
  // Requests per second: clients that read their account, dashboards with an app, operators.
  const mix = {
    '/api/v1/me': 4,
    '/api/v1/regions': 2,
    [`/api/v1/apps/${slug}/metrics`]: 4,
    '/admin/stats': 1,
    '/admin/operations': 2
  }
  const turn = Object.entries(mix).flatMap(([url, times]) => Array<string>(times).fill(url))
  for (let second = 0; second < 60; second++)
    for (const url of turn) {
      assert.equal((await as(token, 'GET', url)).statusCode, 200, url)
      setAhead(t, performance, 1_000 / turn.length)
    }

  const text = await eventually(
    async () => (await as(token, 'GET', '/metrics')).body,
    body => /^rhone_cache_requests_total\{cache="regions",outcome="hit"\} 1\d\d$/m.test(body)
  )
  const count = (cache: string, outcome: string) =>
    Number(
      new RegExp(`^rhone_cache_requests_total\\{cache="${cache}",outcome="${outcome}"\\} (\\d+)$`, 'm').exec(text)?.[1]
    )
  for (const name of Object.keys(CACHES)) {
    const [hits, misses] = [count(name, 'hit'), count(name, 'miss')]
    const rate = hits / (hits + misses)
    t.diagnostic(`${name}: ${hits} hits, ${misses} misses, ${Math.round(rate * 100)} %`)
    assert.ok(rate > 0.8, `${name}: ${rate}`)
  }
})

test('no cache is filled from a replica', async () => {
  for (const path of await Array.fromAsync(glob('routes/**/*.ts', { cwd: join(import.meta.dirname, '..') })))
    assert.doesNotMatch(await readFile(join(import.meta.dirname, '..', path), 'utf8'), /cached\(.*\.reads\b/, path)
})

test('the first request for regions is a hit, and metrics show the size of each cache', async t => {
  const { as, token } = await testApp(t)
  const scrape = async () => (await as(token, 'GET', '/metrics')).body
  await eventually(scrape, body => /^rhone_cache_entries\{cache="regions"\} 1$/m.test(body))
  assert.equal((await as(null, 'GET', '/api/v1/regions')).statusCode, 200)
  // A scrape may be cached.
  await eventually(scrape, body => /^rhone_cache_requests_total\{cache="regions",outcome="hit"\} [1-9]/m.test(body))
})
