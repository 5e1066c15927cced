import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import { PassThrough } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { register as globalRegistry } from '@platformatic/prom-client'
import Fastify from 'fastify'
import metrics from '../../plugins/metrics/index.ts'
import { setAhead } from '../support/clock.ts'
import { eventually } from '../support/eventually.ts'

const TOKEN = 'a-token-for-scrapers'
const authorization = `Bearer ${TOKEN}`

async function server(t: TestContext, options: object = {}) {
  const app = Fastify()
  await app.register(metrics, { tokens: [TOKEN], scrapeTtl: 0, ...options })
  app.get('/apps/:app', { config: { slo: 'detail' } }, async () => ({ ok: true }))
  app.get('/broken', async () => {
    throw new Error('on purpose')
  })
  t.after(() => app.close())
  const scrape = async () => (await app.inject({ url: '/metrics', headers: { authorization } })).body
  return { app, scrape }
}

/** The value of the sample with this name and these labels, however they are ordered. */
function sample(text: string, name: string, labels: Record<string, string> = {}): number | undefined {
  for (const line of text.split('\n')) {
    const [, found, inBraces = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
    if (found !== name) continue
    const given = Object.fromEntries([...inBraces.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, text]) => [key, text]))
    if (Object.entries(labels).every(([key, text]) => given[key] === text)) return Number(value)
  }
  return undefined
}

const total = (text: string, method: string, path: string, status: number) =>
  sample(text, 'rhone_http_requests_total', { method, path, status: String(status) })

const seriesOf = (text: string) => text.split('\n').filter(line => line.startsWith('rhone_http_')).length

test('without the plugin there are no metrics', async () => {
  assert.equal((await Fastify().inject('/metrics')).statusCode, 404)
})

test('every reply is counted once under its pattern: good, broken, unknown, HEAD, OPTIONS', async t => {
  const { app, scrape } = await server(t)
  app.options('/apps/:app', async () => ({}))
  for (const url of ['/apps/1', '/apps/2', '/broken', '/nowhere']) await app.inject(url)
  for (const method of ['HEAD', 'OPTIONS'] as const) await app.inject({ method, url: '/apps/1' })
  const text = await scrape()
  assert.equal(total(text, 'GET', '/apps/:app', 200), 2)
  assert.equal(total(text, 'HEAD', '/apps/:app', 200), 1)
  assert.equal(total(text, 'OPTIONS', '/apps/:app', 200), 1)
  assert.equal(total(text, 'GET', '/broken', 500), 1)
  assert.equal(total(text, 'GET', '__unmatched__', 404), 1)
})

test('a request refused by a later hook is counted under its route', async t => {
  const { app, scrape } = await server(t)
  app.addHook('onRequest', (request, _reply, next) => {
    next(request.url === '/apps/shed' ? Object.assign(new Error('busy'), { statusCode: 503 }) : undefined)
  })
  app.get('/gone', (_request, reply) => reply.callNotFound())
  await app.inject('/apps/shed')
  await app.inject('/gone')
  const text = await scrape()
  assert.equal(total(text, 'GET', '/apps/:app', 503), 1)
  assert.equal(total(text, 'GET', '/gone', 404), 1)
})

test('routes registered before the plugin, and those with a prefix, are counted by their pattern', async t => {
  const app = Fastify()
  t.after(() => app.close())
  app.get('/early/:id', async () => ({}))
  await app.register(metrics, { allowLoopback: true })
  app.register(async scope => scope.get('/', async () => ({})), { prefix: '/scope' })
  for (const url of ['/early/1', '/scope', '/scope/']) await app.inject(url)
  const text = (await app.inject('/metrics')).body
  assert.equal(total(text, 'GET', '/early/:id', 200), 1)
  assert.equal(total(text, 'GET', '/scope', 200), 2)
})

test('durations fall into buckets around the objectives, and streams are counted but not timed', async t => {
  const { app, scrape } = await server(t)
  app.get('/slow', async () => {
    setAhead(t, performance, 60)
    return {}
  })
  app.get('/live', { config: { slo: 'stream' } }, async () => 'over')
  await app.inject('/slow')
  await app.inject('/live')
  const text = await scrape()
  const bucket = (path: string, le: string) => sample(text, 'rhone_http_request_duration_seconds_bucket', { path, le })
  assert.equal(bucket('/slow', '0.05'), 0)
  assert.equal(bucket('/slow', '+Inf'), 1)
  for (const le of ['0.05', '0.1', '0.2', '0.5']) assert.notEqual(bucket('/slow', le), undefined, `bucket ${le}`)
  assert.ok(sample(text, 'rhone_http_request_duration_seconds_sum', { path: '/slow' })! >= 0.05)
  assert.equal(sample(text, 'rhone_http_request_duration_seconds_count', { path: '/slow' }), 1)
  assert.equal(total(text, 'GET', '/live', 200), 1)
  assert.equal(bucket('/live', '+Inf'), undefined)
})

test('a disconnected client counts as 499, except in a started stream; then nothing is in flight', async t => {
  const { app, scrape } = await server(t)
  const entered = new PassThrough()
  app.post('/slow', async () => {
    entered.write('in')
    await new Promise(() => {})
  })
  app.get('/live', { config: { slo: 'stream' } }, (_request, reply) => {
    const stream = new PassThrough()
    stream.write('tick\n')
    reply.send(stream)
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const inFlight = async () => sample(await scrape(), 'rhone_http_requests_in_flight')

  const waiting = connect(port, '127.0.0.1')
  waiting.write('POST /slow HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}')
  await once(entered, 'data')
  assert.equal(await inFlight(), 2, 'the waiting one and the scrape itself')
  waiting.destroy()

  const listening = connect(port, '127.0.0.1')
  listening.write('GET /live HTTP/1.1\r\nhost: x\r\n\r\n')
  await once(listening, 'data')
  listening.destroy()

  await eventually(inFlight, count => count === 1)
  const text = await scrape()
  assert.equal(total(text, 'POST', '/slow', 499), 1)
  assert.equal(total(text, 'GET', '/live', 200), 1)
})

test('ten thousand random URLs and methods of their own do not add a series', async t => {
  const { app, scrape } = await server(t)
  const hit = async () => {
    await app.inject(`/${Math.random()}/${Math.random()}?q=${Math.random()}`)
    await app.inject(`/apps/${Math.random()}`)
  }
  await hit()
  await scrape()
  const before = seriesOf(await scrape())
  for (let i = 0; i < 5_000; i++) await hit()
  assert.equal(seriesOf(await scrape()), before)

  for (const method of ['PROPFIND', 'MKCOL', 'PURGE'] as const) await app.inject({ method: method as 'GET', url: '/x' })
  assert.equal(total(await scrape(), 'OTHER', '__unmatched__', 404), 3)
})

test('replies and failures of a route are counted from zero, so that rate() sees the first one', async t => {
  const { app, scrape } = await server(t)
  app.post('/made', { schema: { response: { 201: {}, 400: {} } } }, async () => ({}))
  const text = await scrape()
  assert.equal(total(text, 'POST', '/made', 201), 0)
  assert.equal(total(text, 'POST', '/made', 500), 0)
  assert.equal(total(text, 'GET', '/apps/:app', 200), 0)
  assert.equal(total(text, 'HEAD', '/apps/:app', 200), undefined)
})

test('beyond the cap, requests are still counted, as one path', async t => {
  const { app, scrape } = await server(t, { maxSeries: 3 })
  for (let i = 0; i < 10; i++) app.get(`/route-${i}`, async () => ({}))
  for (let i = 0; i < 10; i++) await app.inject(`/route-${i}`)
  const text = await scrape()
  assert.equal(total(text, 'GET', '/route-2', 200), 1)
  assert.equal(total(text, 'GET', '/route-3', 200), undefined)
  assert.equal(total(text, 'GET', '__overflow__', 200), 7)
})

test('the routes and their service level classes are listed, and the version', async t => {
  const { scrape } = await server(t, { version: '1.2.3' })
  const text = await scrape()
  assert.equal(sample(text, 'rhone_http_route_info', { method: 'GET', path: '/apps/:app', slo: 'detail' }), 1)
  assert.equal(sample(text, 'rhone_http_route_info', { method: 'HEAD', path: '/broken', slo: 'none' }), 1)
  assert.equal(sample(text, 'rhone_build_info', { version: '1.2.3' }), 1)
  assert.ok(sample(text, 'process_cpu_seconds_total')! > 0)
})

test('methods of one pattern have their own service level classes', async t => {
  const { app, scrape } = await server(t)
  app.post('/apps/:app', { config: { slo: 'write' } }, async () => ({}))
  app.get('/logs', { config: { slo: 'stream' } }, async () => 'line')
  app.post('/logs', { config: { slo: 'write' } }, async () => ({}))
  for (const method of ['GET', 'POST'] as const) await app.inject({ method, url: '/logs' })

  const text = await scrape()
  const slo = (method: string, path: string) =>
    [...text.matchAll(/^rhone_http_route_info\{method="(\w+)",path="([^"]*)",slo="(\w+)"\} 1$/gm)]
      .filter(([, ofMethod, ofPath]) => ofMethod === method && ofPath === path)
      .map(([, , , name]) => name)
  assert.deepEqual(slo('GET', '/apps/:app'), ['detail'])
  assert.deepEqual(slo('POST', '/apps/:app'), ['write'])
  const timed = (method: string) => sample(text, 'rhone_http_request_duration_seconds_count', { method, path: '/logs' })
  assert.equal(timed('GET'), undefined)
  assert.equal(timed('POST'), 1)
})

test('promtool accepts a scrape', async t => {
  if (spawnSync('promtool', ['--version']).error) return t.skip('promtool is not installed')
  const { app, scrape } = await server(t)
  await app.inject('/apps/1')
  await scrape()
  const promtool = spawn('promtool', ['check', 'metrics'])
  promtool.stdin.end(await scrape())
  let said = ''
  for (const stream of [promtool.stdout, promtool.stderr]) stream.on('data', chunk => (said += chunk))
  await once(promtool, 'close')
  assert.equal(said, '')
  assert.equal(promtool.exitCode, 0)
})

test('only holders of the token may scrape, from any address', async t => {
  const { app } = await server(t, { allowLoopback: true })
  const status = async (headers: Record<string, string>) => (await app.inject({ url: '/metrics', headers })).statusCode
  for (const scheme of ['Bearer', 'bearer', 'BEARER'])
    assert.equal(await status({ authorization: `${scheme} ${TOKEN}` }), 200, scheme)
  for (const wrong of [
    {},
    { authorization: `${authorization}x` },
    { authorization: 'Bearer ' },
    { authorization: TOKEN }
  ])
    assert.equal(await status(wrong as Record<string, string>), 401)
})

test('during a rotation, both the new and the old token are accepted', async t => {
  const { app } = await server(t, { tokens: ['new', 'old'] })
  const status = async (token: string) =>
    (await app.inject({ url: '/metrics', headers: { authorization: `Bearer ${token}` } })).statusCode
  assert.deepEqual([await status('new'), await status('old'), await status('older')], [200, 200, 401])
})

test('loopback is trusted only for localhost, not for a rebound page or an app', async t => {
  const { app } = await server(t, { tokens: [], allowLoopback: true })
  for (const [host, status] of [
    ['localhost:8080', 200],
    ['127.0.0.1', 200],
    ['[::1]:8080', 200],
    ['evil.example', 403],
    ['shop.localhost:8080', 403],
    ['127.0.0.1.evil.example', 403]
  ] as const)
    assert.equal((await app.inject({ url: '/metrics', headers: { host } })).statusCode, status, host)
})

test('without a token, loopback peers may scrape if allowed; headers do not make a peer one', async t => {
  const { app: open } = await server(t, { tokens: [], allowLoopback: true })
  const { app: closed } = await server(t, { tokens: [] })
  const status = async (app: typeof open, remoteAddress: string) =>
    (await app.inject({ url: '/metrics', remoteAddress, headers: { 'x-forwarded-for': '127.0.0.1' } })).statusCode
  for (const peer of ['127.0.0.1', '::1', '::ffff:127.0.0.1']) assert.equal(await status(open, peer), 200, peer)
  for (const peer of ['192.0.2.1', '::ffff:192.0.2.1', '1127.0.0.1']) assert.equal(await status(open, peer), 403, peer)
  assert.equal(await status(closed, '127.0.0.1'), 403)
})

test('a peer on this machine that is not trusted needs a token, and only `true` is trust', async t => {
  for (const answer of [false, undefined, 'yes', 1]) {
    const { app } = await server(t, { tokens: [], allowLoopback: true, trusts: () => answer })
    assert.equal((await app.inject({ url: '/metrics' })).statusCode, 403, String(answer))
  }
  const { app } = await server(t, { trusts: () => false })
  assert.equal((await app.inject({ url: '/metrics', headers: { authorization } })).statusCode, 200)
})

test('concurrent scrapes share a result, which is cached for its lifetime', async t => {
  const { app } = await server(t, { scrapeTtl: 300 })
  let collections = 0
  const { Gauge } = await import('@platformatic/prom-client')
  new Gauge({
    name: 'test_collections',
    help: 'How often this was asked for.',
    registers: [app.metrics.registry],
    collect() {
      this.set(++collections)
    }
  })
  const scrape = async () => (await app.inject({ url: '/metrics', headers: { authorization } })).statusCode
  await Promise.all(Array.from({ length: 20 }, scrape))
  assert.equal(collections, 1)
  await eventually(async () => {
    assert.equal(await scrape(), 200)
    return collections > 1
  })
  assert.equal(collections, 2)
})

test('a failed reading does not affect later scrapes', async t => {
  const { app } = await server(t, { scrapeTtl: 60_000 })
  const { Gauge } = await import('@platformatic/prom-client')
  let isBroken = true
  new Gauge({
    name: 'test_reading',
    help: 'Fails once.',
    registers: [app.metrics.registry],
    collect() {
      if (isBroken) throw new Error('on purpose')
    }
  })
  const scrape = async () => (await app.inject({ url: '/metrics', headers: { authorization } })).statusCode
  assert.equal(await scrape(), 500)
  isBroken = false
  assert.equal(await scrape(), 200)
})

test('two apps of one process count separately, and nothing uses the global registry', async t => {
  const [one, other] = await Promise.all([server(t), server(t)])
  await one.app.inject('/apps/1')
  assert.equal(total(await one.scrape(), 'GET', '/apps/:app', 200), 1)
  assert.equal(total(await other.scrape(), 'GET', '/apps/:app', 200), 0)
  assert.deepEqual(globalRegistry.getMetricsAsArray(), [])
})

test('buckets out of order and unknown options fail the boot', async () => {
  await assert.rejects(
    async () => Fastify().register(metrics, { buckets: [1, 0.5] }),
    /rhone-metrics: option "buckets"/
  )
  await assert.rejects(async () => Fastify().register(metrics, { tokens: 'x' } as object), /rhone-metrics.*"tokens"/)
})
