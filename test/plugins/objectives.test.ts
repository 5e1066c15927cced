import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import { Registry } from '@platformatic/prom-client'
import Fastify from 'fastify'
import errors from '../../plugins/errors/index.ts'
import { errors as catalogue } from '../../plugins/lib/errors.ts'
import maintenance from '../../plugins/maintenance/index.ts'
import objectives, { OBJECTIVE_CLASSES, OUTCOMES } from '../../plugins/objectives.ts'

async function build(t: TestContext, options: object = {}) {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(errors)
  await app.register(objectives, options)
  return app
}

/** The tally of one class without its zeros. */
const happened = (tally: Readonly<Record<string, number>>) =>
  Object.fromEntries(Object.entries(tally).filter(([, count]) => count > 0))

test('every pair of class and outcome is exposed before the first request, so that rate() sees the first error', async t => {
  const registry = new Registry()
  const app = await build(t, { registry })
  await app.ready()
  const lines = (await registry.metrics()).split('\n').filter(line => line.startsWith('rhone_slo_requests_total{'))
  assert.equal(lines.length, OBJECTIVE_CLASSES.length * OUTCOMES.length)
  assert.ok(lines.every(line => line.endsWith(' 0')))
})

test('repeated scrapes return the same totals', async t => {
  const registry = new Registry()
  const app = await build(t, { registry })
  app.get('/apps', { config: { slo: 'list' } }, async () => 'ok')
  await app.inject('/apps')
  const scrape = async () =>
    /^rhone_slo_requests_total\{slo="list",outcome="good"\} (\d+)$/m.exec(await registry.metrics())?.[1]
  assert.equal(await scrape(), '1')
  assert.equal(await scrape(), '1')
})

test('server errors and shedding count as errors; client errors and limits do not', async t => {
  const app = await build(t)
  const answers = {
    '/fine': async () => 'ok',
    '/absent': () => Promise.reject(catalogue.notFound('App')),
    '/limited': () => Promise.reject(catalogue.rateLimit(1)),
    '/busy': () => Promise.reject(catalogue.unavailable(1)),
    '/broken': () => Promise.reject(new Error('boom'))
  }
  for (const [url, answer] of Object.entries(answers)) app.get(url, { config: { slo: 'detail' } }, answer)
  for (const url of Object.keys(answers)) await app.inject(url)
  assert.deepEqual(happened(app.objectives.counts.detail), { good: 2, error: 2, limited: 1 })
})

test('a reply above the threshold of its class is slow, unless it is an error', async t => {
  const app = await build(t, { write: 1, list: 60_000 })
  const pause = () => {
    const until = performance.now() + 2
    while (performance.now() < until);
  }
  app.get('/change', { config: { slo: 'write' } }, async () => pause())
  app.get('/list', { config: { slo: 'list' } }, async () => pause())
  app.get('/failure', { config: { slo: 'write' } }, async () => {
    pause()
    throw new Error('boom')
  })
  for (const url of ['/change', '/list', '/failure']) await app.inject(url)
  assert.deepEqual(happened(app.objectives.counts.write), { slow: 1, error: 1 })
  assert.deepEqual(happened(app.objectives.counts.list), { good: 1 })
})

test('a refusal by maintenance is planned, a 503 of a route that stays open is not', async t => {
  const app = await build(t)
  await app.register(maintenance)
  app.get('/apps', { config: { slo: 'list' } }, async () => 'ok')
  app.get('/open', { config: { slo: 'list', maintenance: false } }, () => Promise.reject(catalogue.unavailable(1)))
  await app.ready()
  await app.maintenance.set({ enabled: true }, 'ada')
  assert.equal((await app.inject('/apps')).statusCode, 503)
  assert.equal((await app.inject({ url: '/apps', headers: { accept: 'text/html' } })).statusCode, 503)
  assert.equal((await app.inject('/open')).statusCode, 503)
  assert.deepEqual(happened(app.objectives.counts.list), { maintenance: 2, error: 1 })
})

test('a client that left before the reply is counted separately', async t => {
  const app = await build(t)
  const reached = Promise.withResolvers<void>()
  const left = Promise.withResolvers<void>()
  app.get('/slow', { config: { slo: 'detail' } }, async (_request, reply) => {
    reply.raw.once('close', left.resolve) // after the plugin's own listener
    reached.resolve()
    await left.promise
  })
  await app.listen({ port: 0 })
  const socket = connect((app.server.address() as AddressInfo).port)
  await once(socket, 'connect')
  socket.write('GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n')
  await reached.promise
  socket.destroy()
  await left.promise
  assert.equal(app.objectives.counts.detail.gone, 1)
})

test('streams, calls to other services and routes without a class have no objective', async t => {
  const app = await build(t)
  for (const slo of ['stream', 'upstream', undefined] as const)
    app.get(`/${slo}`, { config: slo === undefined ? {} : { slo } }, () => Promise.reject(new Error('boom')))
  for (const url of ['/stream', '/upstream', '/undefined', '/nowhere']) await app.inject(url)
  for (const name of OBJECTIVE_CLASSES) assert.deepEqual(happened(app.objectives.counts[name]), {})
})

test('an invalid threshold fails the boot with its name', async t => {
  await assert.rejects(async () => await build(t, { list: 0 }), /rhone-objectives.*list/)
})
