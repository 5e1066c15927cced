import assert from 'node:assert/strict'
import { glob, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { eq } from 'drizzle-orm'
import { users } from '../drizzle/schema.ts'
import { AccessTokensOptions } from '../plugins/access-tokens/index.ts'
import { AuthOptions } from '../plugins/auth/index.ts'
import { GaugesOptions } from '../plugins/gauges.ts'
import { HealthOptions } from '../plugins/health/index.ts'
import { MetricsOptions } from '../plugins/metrics/index.ts'
import { SessionOptions } from '../plugins/session/index.ts'
import { buildApp } from '../src/app.ts'
import { setOperator } from '../src/domain/accounts/operators.ts'
import { CACHES, type CachePolicy, forgetCached } from '../src/domain/base/caches.ts'
import { testApp } from './support/app.ts'
import { setAhead } from './support/clock.ts'
import { eventually } from './support/eventually.ts'

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

test('a change reaches the caches of all instances when it commits, not before', async t => {
  const one = await testApp(t)
  const other = { app: await buildApp(one.config) }
  t.after(() => other.app.close())
  await other.app.ready()
  await other.app.startup.completed
  const { id } = (await one.as(one.token, 'GET', '/api/v1/me')).json()
  const cachesOf = (app: typeof one.app) => app.cache.of<number>('profiles')
  let loads = 0
  const load = async () => ++loads
  for (const { app } of [one, other]) await cachesOf(app).get('someone', load)
  const held = Promise.withResolvers<void>()
  const changing = one.app.db.transaction(async tx => {
    await forgetCached(tx, 'profiles', 'someone')
    await held.promise
  })
  assert.deepEqual(
    [await cachesOf(one.app).get('someone', load), await cachesOf(other.app).get('someone', load)],
    [1, 2]
  )
  held.resolve()
  await changing
  await eventually(async () => (await cachesOf(one.app).get('someone', load)) > 2)
  await eventually(async () => (await cachesOf(other.app).get('someone', load)) > 2)

  const headers = { authorization: `Bearer ${one.token}` }
  const me = async () => (await other.app.inject({ url: '/api/v1/me', headers })).json().isOperator
  assert.equal(await me(), true)
  const second = await one.app.db.insert(users).values({ username: 'second', isAdmin: true }).returning()
  assert.equal(second.length, 1)
  await one.app.db.transaction(tx => setOperator(tx, id, false))
  await eventually(me, isOperator => isOperator === false)
  assert.equal((await one.app.db.select().from(users).where(eq(users.id, id)))[0]?.isAdmin, false)
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
