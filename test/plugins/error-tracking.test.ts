import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Registry } from '@platformatic/prom-client'
import Fastify from 'fastify'
import errorTracking from '../../plugins/error-tracking/index.ts'
import { ErrorThrottle } from '../../plugins/error-tracking/throttle.ts'
import errors from '../../plugins/errors/index.ts'
import { errors as catalogue } from '../../plugins/lib/errors.ts'
import { DROP_REASONS } from '../../plugins/lib/telemetry-drops.ts'
import { type FakeSentry, startFakeSentry } from '../fakes/sentry/server.ts'
import { eventually } from '../support/eventually.ts'

interface Setup {
  sentry: FakeSentry
  registry: Registry
}

/** A server that reports errors to its own Sentry fake. */
async function server(t: TestContext, options: object = {}) {
  const sentry = await startFakeSentry()
  t.after(() => sentry.close())
  const registry = new Registry()
  const app = Fastify()
  t.after(() => app.close())
  await app.register(errors, { sinks: [failure => app.errorTracking.capture(failure)] })
  await app.register(errorTracking, { dsn: sentry.dsn, release: '1.2.3', environment: 'test', registry, ...options })
  return { app, sentry, registry }
}

async function dropped({ registry }: Pick<Setup, 'registry'>, reason: string): Promise<number> {
  const line = new RegExp(`^rhone_telemetry_dropped_total\\{signal="errors",reason="${reason}"\\} (\\d+)$`, 'm')
  return Number(line.exec(await registry.metrics())?.[1])
}

test('without a DSN nothing happens, and the series of losses exist', async t => {
  const registry = new Registry()
  const app = Fastify()
  t.after(() => app.close())
  await app.register(errorTracking, { registry })
  app.errorTracking.capture({ error: new Error('boom') })
  assert.equal(await app.errorTracking.flush(1), true)
  for (const reason of DROP_REASONS.errors) assert.equal(await dropped({ registry }, reason), 0)
})

test('a failure is reported with its place, release and ids', async t => {
  const { app, sentry } = await server(t)
  app.get('/apps/:app', async () => {
    throw new TypeError('cannot read it', { cause: new RangeError('too long') })
  })
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  const { headers } = await app.inject({ url: '/apps/secret-name?q=1', headers: { traceparent } })
  await eventually(() => sentry.events.length === 1)
  const [event] = sentry.events as [FakeSentry['events'][number]]
  assert.equal(event.release, '1.2.3')
  assert.equal(event.environment, 'test')
  assert.equal(event.level, 'error')
  assert.deepEqual(
    event.exception!.values.map(({ type, value }) => [type, value]),
    [
      ['RangeError', 'too long'],
      ['TypeError', 'cannot read it']
    ]
  )
  assert.ok(event.exception!.values[1]!.stacktrace!.frames.length > 0)
  assert.equal(event.tags!.route, 'GET /apps/:app')
  assert.equal(event.tags!.code, 'INTERNAL_ERROR')
  assert.ok(event.tags!.requestId)
  assert.equal(event.contexts!.trace!.trace_id, '4bf92f3577b34da6a3ce929d0e0e4736')
  assert.equal(headers['sentry-trace'], undefined)
})

test('no request data is sent, and no secrets in messages', async t => {
  const { app, sentry } = await server(t)
  app.post('/things/:thing', async () => {
    const sql = Object.assign(new Error('duplicate key: "pl4nted-sql"'), {
      severity: 'ERROR',
      detail: 'pl4nted-detail'
    })
    throw new Error('password=pl4nted-message for someone@pl4nted.example, "token": "pl4nted-json"', { cause: sql })
  })
  await app.inject({
    method: 'POST',
    url: '/things/pl4nted-path?token=pl4nted-query',
    headers: { cookie: 'a=pl4nted-cookie', authorization: 'Bearer pl4nted-token', 'user-agent': 'pl4nted-agent' },
    payload: { secret: 'pl4nted-body' }
  })
  await eventually(() => sentry.events.length === 1)
  assert.doesNotMatch(sentry.bodies.join('\n'), /pl4nted/)
  assert.doesNotMatch(sentry.bodies.join('\n'), /127\.0\.0\.1:\d+\/things|server_name|breadcrumbs|"modules"/)
  assert.deepEqual(
    Object.keys(sentry.events[0]!).filter(key => ['request', 'user', 'modules', 'breadcrumbs'].includes(key)),
    []
  )
})

test('a user is reported as an id only', async t => {
  const { app, sentry } = await server(t)
  app.errorTracking.capture({ error: new Error('boom'), userId: '0197a4b2' })
  await eventually(() => sentry.events.length === 1)
  assert.deepEqual(sentry.events[0]!.user, { id: '0197a4b2' })
})

test('one error of a kind is sent per minute, and a limited number of all; the rest is counted', async t => {
  const { app, sentry, registry } = await server(t, { perMinute: 3 })
  app.get('/:code', async request => {
    throw Object.assign(new Error('boom'), { name: (request.params as { code: string }).code })
  })
  for (let count = 0; count < 5; count++) await app.inject('/a')
  for (const route of ['one', 'two', 'three', 'four']) app.errorTracking.capture({ error: new Error('boom'), route })
  await eventually(() => sentry.events.length === 3)
  assert.equal(await dropped({ registry }, 'repeated'), 4)
  assert.equal(await dropped({ registry }, 'budget'), 2)
})

test('after a minute an equal error is sent again, with the number of suppressed ones', () => {
  const throttle = new ErrorThrottle(2)
  assert.deepEqual(throttle.judge('a', 0), { repeats: 0 })
  assert.deepEqual(throttle.judge('a', 59_000), { dropped: 'repeated' })
  assert.deepEqual(throttle.judge('b', 59_000), { repeats: 0 })
  assert.deepEqual(throttle.judge('c', 59_000), { dropped: 'budget' })
  assert.deepEqual(throttle.judge('a', 61_000), { repeats: 1 })
  assert.deepEqual(throttle.judge('c', 61_000), { repeats: 0 })
})

test('refusals, such as a 404 or a shed request, are not errors', async t => {
  const { app, sentry } = await server(t)
  app.get('/absent', () => Promise.reject(catalogue.notFound('App')))
  app.get('/busy', () => Promise.reject(catalogue.unavailable(1)))
  await app.inject('/absent')
  await app.inject('/busy')
  await app.close()
  assert.equal(sentry.requests.length, 0)
})

test('events that Sentry rejects are dropped and counted; others are retried', async t => {
  const { app, sentry, registry } = await server(t)
  sentry.behaviour = 400
  app.errorTracking.capture({ error: new Error('refused') })
  await eventually(async () => (await dropped({ registry }, 'export_failed')) === 1)
  sentry.behaviour = 503
  app.errorTracking.capture({ error: new TypeError('kept') })
  await eventually(() => sentry.requests.length === 2)
  sentry.behaviour = 200
  await eventually(() => sentry.events.length === 1)
  assert.equal(sentry.events[0]!.exception!.values[0]!.value, 'kept')
  assert.equal(await dropped({ registry }, 'export_failed'), 1)
})

test('a hanging Sentry uses one connection, and delays the close by its limit only', async t => {
  const { app, sentry, registry } = await server(t, { shutdown: 300, perMinute: 1_000 })
  sentry.behaviour = 'hang'
  for (let kind = 0; kind < 50; kind++) app.errorTracking.capture({ error: new Error('boom'), route: `GET /${kind}` })
  await eventually(() => sentry.pending === 1)
  const before = performance.now()
  await app.close()
  assert.ok(performance.now() - before < 1_500)
  assert.equal(sentry.requests.length, 1)
  assert.equal((await dropped({ registry }, 'queue_full')) + (await dropped({ registry }, 'shutdown')), 50)
})

test('the close delivers what was captured just before', async t => {
  const { app, sentry } = await server(t)
  app.errorTracking.capture({ error: new Error('the last one'), level: 'fatal' })
  await app.close()
  assert.equal(sentry.events[0]!.level, 'fatal')
  assert.equal(sentry.events[0]!.exception!.values[0]!.value, 'the last one')
})

test('a wrong DSN fails the boot with a sentence', async () => {
  await assert.rejects(
    async () => Fastify().register(errorTracking, { dsn: 'nonsense' }),
    /rhone-error-tracking: option "dsn"/
  )
})
