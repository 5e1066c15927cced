import assert from 'node:assert/strict'
import { resolve } from 'node:path'
import { test } from 'node:test'
import { stockPressure } from '../../examples/stock/under-pressure.ts'
import { testApp } from '../support/app.ts'
import { eventually } from '../support/eventually.ts'

const STOCK = {
  'security-headers': 'helmet',
  cors: 'cors',
  'rate-limit': 'rate-limit',
  metrics: 'metrics',
  pressure: 'under-pressure'
}
const swapOf = (slot: keyof typeof STOCK) =>
  `${slot}=${resolve(import.meta.dirname, `../../examples/stock/${STOCK[slot]}.ts`)}`
const over = (slot: keyof typeof STOCK) => ({ RHONE_SWAP: swapOf(slot) })

test('@fastify/helmet replaces security-headers, and pages keep their styles', async t => {
  const { app } = await testApp(t, { ...over('security-headers'), LOCAL_ACCOUNTS: 'true' })
  const api = await app.inject('/api/v1/ping')
  assert.equal(api.statusCode, 200)
  assert.equal(api.headers['x-content-type-options'], 'nosniff')
  assert.equal(api.headers['x-frame-options'], 'SAMEORIGIN', 'the default of helmet')

  const page = await app.inject({ url: '/login', headers: { accept: 'text/html' } })
  const nonce = /style-src [^;]*'nonce-([^']+)'/.exec(String(page.headers['content-security-policy']))?.[1]
  assert.ok(nonce)
  assert.ok(page.body.includes(`nonce="${nonce}"`))
})

test('@fastify/cors replaces cors, for the same origins', async t => {
  const { app } = await testApp(t, { ...over('cors'), CORS_ORIGINS: 'https://shop.example.com' })
  const from = (origin: string) => app.inject({ url: '/api/v1/ping', headers: { origin } })
  assert.equal(
    (await from('https://shop.example.com')).headers['access-control-allow-origin'],
    'https://shop.example.com'
  )
  assert.equal((await from('https://evil.example.com')).headers['access-control-allow-origin'], undefined)
  const preflight = await app.inject({
    method: 'OPTIONS',
    url: '/api/v1/apps',
    headers: { origin: 'https://shop.example.com', 'access-control-request-method': 'POST' }
  })
  assert.equal(preflight.statusCode, 204)
  assert.match(String(preflight.headers['access-control-allow-methods']), /POST/)
})

test('@fastify/rate-limit in memory replaces rate-limit, with a window per route', async t => {
  const { app } = await testApp(t, { ...over('rate-limit'), RATE_LIMIT_GENERAL: '1/h:3' })
  const replies = []
  for (const url of ['/api/v1/ping', '/api/v1/ping', '/api/v1/ping', '/api/v1/ping', '/openapi.json', '/health'])
    replies.push(await app.inject(url))
  assert.deepEqual(
    replies.map(({ statusCode }) => statusCode),
    [200, 200, 200, 429, 200, 200]
  )
  const refused = replies[3]!
  assert.equal(refused.json().error.code, 'RATE_LIMIT')
  assert.ok(Number(refused.headers['retry-after']) > 0)
  assert.equal(refused.headers['ratelimit-limit'], '3')
})

test("fastify-metrics' own HTTP metrics replace metrics, and the other plugins add theirs", async t => {
  const { app } = await testApp(t, { ...over('metrics'), METRICS_TOKEN: 'scrape-scrape-scrape-scrape-1234' })
  await app.inject('/api/v1/ping')
  assert.equal((await app.inject('/metrics')).statusCode, 401)
  const scraped = await app.inject({
    url: '/metrics',
    headers: { authorization: 'Bearer scrape-scrape-scrape-scrape-1234' }
  })
  assert.equal(scraped.statusCode, 200)
  assert.match(scraped.body, /^http_request_duration_seconds_count\{.*route="\/api\/v1\/ping".*\} 1$/m)
  assert.match(scraped.body, /^process_cpu_user_seconds_total /m)
  assert.match(scraped.body, /^rhone_db_pool_connections/m)
})

test('@fastify/under-pressure replaces pressure, and lets probes and operators through', async t => {
  const { as, token } = await testApp(t, {}, { pressure: stockPressure({ maxRssBytes: 1, sampleInterval: 10 }) })
  // Starting with the first sample.
  const refused = await eventually(
    () => as(token, 'GET', '/api/v1/apps'),
    ({ statusCode }) => statusCode !== 200
  )
  assert.equal(refused.statusCode, 503)
  assert.equal(refused.headers['retry-after'], '10')
  assert.equal(refused.json().error.code, 'SERVICE_UNAVAILABLE')
  assert.equal((await as(null, 'GET', '/health')).statusCode, 200)
  assert.equal((await as(token, 'GET', '/admin/stats')).statusCode, 200)
})

test('a server with all five answers, refuses and can be scraped', async t => {
  const swaps = (Object.keys(STOCK) as (keyof typeof STOCK)[]).map(swapOf).join(',')
  const { app, as, token } = await testApp(t, { RHONE_SWAP: swaps })
  assert.equal((await as(token, 'GET', '/api/v1/apps')).statusCode, 200)
  const lost = await app.inject('/nowhere')
  assert.equal(lost.statusCode, 404)
  assert.equal(lost.json().error.code, 'NOT_FOUND')
  assert.equal((await app.inject('/ready')).statusCode, 200)
  assert.equal((await app.inject('/metrics')).statusCode, 200)
  for (const name of ['helmet', 'cors', 'rate-limit', 'metrics', 'under-pressure'])
    assert.ok(app.hasPlugin(`stock-${name}`), name)
})
