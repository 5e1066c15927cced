import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Registry } from '@platformatic/prom-client'
import Fastify, { type FastifyInstance } from 'fastify'
import errors from '../../plugins/errors/index.ts'
import { createRemote } from '../../plugins/lib/remote.ts'
import logging, { OneLinePerRequest } from '../../plugins/logging/index.ts'
import redis from '../../plugins/redis/index.ts'
import tracing from '../../plugins/tracing/index.ts'
import { type FakeOtlp, startFakeOtlp } from '../fakes/otlp/server.ts'
import { listen } from '../fakes/server.ts'
import { eventually } from '../support/eventually.ts'
import { redisServer } from '../support/redis.ts'

type Lines = Record<string, unknown>[]

interface Server {
  readonly app: FastifyInstance
  readonly sink: FakeOtlp
  readonly lines: Lines
  readonly registry: Registry
}

const CALLER = '4bf92f3577b34da6a3ce929d0e0e4736'
const SPAN = '00f067aa0ba902b7'
const traceparent = (flags: string) => `00-${CALLER}-${SPAN}-${flags}`

/** A server with its own trace receiver; closing the app delivers everything. */
async function server(t: TestContext, options: object = {}, prepare?: (app: FastifyInstance) => void): Promise<Server> {
  const sink = await startFakeOtlp()
  t.after(() => sink.close())
  const lines: Lines = []
  const registry = new Registry()
  const app = Fastify()
  t.after(() => app.close())
  await app.register(errors)
  await app.register(tracing, { endpoint: sink.url, registry, version: '1.2.3', environment: 'test', ...options })
  await app.register(logging, { destination: { write: line => void lines.push(JSON.parse(line)) } })
  prepare?.(app)
  return { app, sink, lines, registry }
}

const dropped = async (registry: Registry, reason: string) =>
  Number(
    new RegExp(`^rhone_telemetry_dropped_total\\{signal="traces",reason="${reason}"\\} (\\d+)$`, 'm').exec(
      await registry.metrics()
    )?.[1]
  )

test('without an endpoint nothing is recorded, and a log line only has the trace of its caller', async t => {
  const { app, lines } = await server(t, { endpoint: '' })
  app.get('/', async () => 'ok')
  await app.inject('/')
  await app.inject({ url: '/', headers: { traceparent: traceparent('01') } })
  assert.deepEqual(
    lines.map(({ traceId, spanId }) => [traceId, spanId]),
    [
      [undefined, undefined],
      [CALLER, undefined]
    ]
  )
})

test('a recorded request is one span, named after its route, with the ids of its log line', async t => {
  const { app, sink, lines } = await server(t, { ratio: 1 })
  app.get('/apps/:app', async () => 'ok')
  await app.inject('/apps/secret-name?token=s3cret')
  await app.close()

  const [span] = sink.spans
  assert.equal(sink.spans.length, 1)
  assert.equal(span!.name, 'GET /apps/:app')
  assert.equal(span!.kind, 'server')
  assert.equal(span!.parentId, '')
  assert.equal(span!.failed, false)
  assert.deepEqual(span!.attributes, {
    'http.request.method': 'GET',
    'http.route': '/apps/:app',
    'http.response.status_code': 200,
    'rhone.request_id': lines[0]!.reqId
  })
  assert.deepEqual(
    { traceId: lines[0]!.traceId, spanId: lines[0]!.spanId, sampled: lines[0]!.sampled },
    { traceId: span!.traceId, spanId: span!.spanId, sampled: true }
  )
  assert.equal(span!.resource['service.name'], 'rhone')
  assert.equal(span!.resource['service.version'], '1.2.3')
  assert.equal(span!.resource['deployment.environment.name'], 'test')
  assert.doesNotMatch(sink.requests.map(({ body }) => body.toString('latin1')).join(), /s3cret|secret-name/)
})

test('an unrecorded request has ids in its line, and no span', async t => {
  const { app, sink, lines } = await server(t, { ratio: 0 })
  app.get('/', async () => 'ok')
  await app.inject('/')
  await app.close()
  assert.match(String(lines[0]!.traceId), /^[0-9a-f]{32}$/)
  assert.match(String(lines[0]!.spanId), /^[0-9a-f]{16}$/)
  assert.equal(lines[0]!.sampled, false)
  assert.equal(sink.requests.length, 0)
})

test('the ratio is kept', async t => {
  const { app, lines } = await server(t, { ratio: 0.1 })
  app.get('/', async () => 'ok')
  for (let count = 0; count < 2_000; count++) await app.inject('/')
  const sampled = lines.filter(line => line.sampled).length
  assert.ok(sampled > 120 && sampled < 290, `${sampled} of 2000`)
  assert.equal(new Set(lines.map(({ traceId }) => traceId)).size, 2_000)
})

test('the decision of a caller not to record is respected; its trace is continued', async t => {
  const { app, lines } = await server(t, { ratio: 1 })
  app.get('/', async () => 'ok')
  await app.inject({ url: '/', headers: { traceparent: traceparent('00') } })
  assert.equal(lines[0]!.traceId, CALLER)
  assert.notEqual(lines[0]!.spanId, SPAN)
  assert.equal(lines[0]!.sampled, false)
})

test('unknown callers that ask for a recording get it only by the ratio', async t => {
  const { app, sink, lines } = await server(t, { ratio: 0.1 })
  app.get('/', async () => 'ok')
  for (let count = 0; count < 1_000; count++)
    await app.inject({ url: '/', headers: { traceparent: traceparent('01') } })
  await app.close()
  const sampled = lines.filter(line => line.sampled).length
  assert.ok(sampled > 50 && sampled < 160, `${sampled} of 1000`)
  assert.ok(lines.every(line => line.traceId === CALLER))
  assert.equal(sink.spans.length, sampled)
  assert.ok(sink.spans.every(span => span.traceId === CALLER && span.parentId === SPAN))
})

test('authenticated callers that ask for a recording get it, within a budget per second', async t => {
  const trusts = (request: { headers: object }) => 'authorization' in request.headers
  const { app, lines } = await server(t, { ratio: 0, asked: 3, trusts })
  app.get('/', async () => 'ok')
  const headers = { traceparent: traceparent('01'), authorization: 'Bearer x' }
  for (let count = 0; count < 20; count++) await app.inject({ url: '/', headers })
  const sampled = lines.filter(line => line.sampled).length
  assert.ok(sampled >= 3 && sampled <= 6, `${sampled} of 20, in no more than two seconds`)
})

test('an unsampled error is recorded afterwards, with the ids of its log line', async t => {
  const { app, sink, lines } = await server(t, { ratio: 0 })
  app.get('/', async () => {
    throw new Error('password=hunter2')
  })
  const before = BigInt(Date.now()) * 1_000_000n
  await app.inject({ url: '/', headers: { traceparent: traceparent('01') } })
  await app.close()
  const line = lines.find(({ msg }) => msg === 'request')!
  const [span] = sink.spans
  assert.deepEqual([span!.traceId, span!.spanId, span!.parentId], [line.traceId, line.spanId, SPAN])
  assert.equal(line.sampled, true)
  assert.equal(span!.failed, true)
  assert.equal(span!.attributes['error.type'], '500')
  assert.ok(span!.start >= before - 5_000_000n && span!.end >= span!.start)
  assert.doesNotMatch(sink.requests[0]!.body.toString('latin1'), /hunter2/)
})

test('a slow request is recorded afterwards; a stream is never slow', async t => {
  const { app, sink } = await server(t, { ratio: 0, slow: 1 })
  const handler = async () => {
    const until = performance.now() + 3
    while (performance.now() < until);
    return 'ok'
  }
  app.get('/slow', handler)
  app.get('/stream', { config: { slo: 'stream' } }, handler)
  await app.inject('/slow')
  await app.inject('/stream')
  await app.close()
  assert.deepEqual(
    sink.spans.map(({ name }) => name),
    ['GET /slow']
  )
})

test('a burst of errors is recorded within its budget', async t => {
  const { app, sink } = await server(t, { ratio: 0, afterwards: 4 })
  app.get('/', () => Promise.reject(new Error('boom')))
  for (let count = 0; count < 50; count++) await app.inject('/')
  await app.close()
  assert.ok(sink.spans.length >= 4 && sink.spans.length <= 12, `${sink.spans.length} of 50`)
})

test('a call to another service is a child span, and propagates the decision', async t => {
  const asked: (string | undefined)[] = []
  const baggage: unknown[] = []
  const other = await listen((request, response) => {
    asked.push(request.headers.traceparent as string)
    baggage.push(request.headers.baggage)
    response.end('{}')
  })
  t.after(() => other.close())
  const remote = createRemote({ service: 'other', baseUrl: other.url })
  for (const ratio of [1, 0]) {
    const { app, sink, lines } = await server(t, { ratio })
    app.post('/', async request => {
      request.log.info('inside')
      await remote.call({ operation: 'look', path: '/things?token=s3cret' })
      return 'ok'
    })
    await app.inject({ method: 'POST', url: '/', payload: { a: 1 } })
    await app.close()
    const line = lines.find(({ msg }) => msg === 'request')!
    const header = asked.at(-1)!
    assert.ok(header.startsWith(`00-${line.traceId}-`), header)
    assert.ok(header.endsWith(ratio === 1 ? '-01' : '-00'), header)
    if (ratio === 0) {
      assert.equal(sink.spans.length, 0)
      continue
    }
    const child = sink.spans.find(({ kind }) => kind === 'client')!
    assert.equal(child.name, 'other look')
    assert.equal(child.parentId, line.spanId)
    assert.equal(header, `00-${child.traceId}-${child.spanId}-01`)
    assert.equal(child.attributes['http.response.status_code'], 200)
    assert.doesNotMatch(sink.requests[0]!.body.toString('latin1'), /s3cret/)
  }
  assert.deepEqual(baggage, [undefined, undefined])
})

test('calls of concurrent requests are kept apart, even after a body was read', async t => {
  const other = await listen((_request, response) => void setTimeout(() => response.end('{}'), Math.random() * 10))
  t.after(() => other.close())
  const remote = createRemote({ service: 'other', baseUrl: other.url })
  const { app, sink } = await server(t, { ratio: 1 })
  app.post('/things/:thing', async () => {
    await remote.call({ operation: 'first', path: '/' })
    await remote.call({ operation: 'second', path: '/' })
    return 'ok'
  })
  const address = await app.listen({ port: 0 })
  const send = () =>
    fetch(`${address}/things/1`, { method: 'POST', body: '{"a":1}', headers: { 'content-type': 'application/json' } })
  await Promise.all(Array.from({ length: 20 }, send))
  await app.close()
  const roots = sink.spans.filter(({ kind }) => kind === 'server')
  assert.equal(roots.length, 20)
  for (const root of roots)
    assert.deepEqual(
      sink.spans
        .filter(({ parentId }) => parentId === root.spanId)
        .map(({ name }) => name)
        .sort(),
      ['other first', 'other second']
    )
})

test('a trace with hundreds of calls is truncated, and the rest counted', async t => {
  const other = await listen((_request, response) => void response.end('{}'))
  t.after(() => other.close())
  const remote = createRemote({ service: 'other', baseUrl: other.url })
  const { app, sink, registry } = await server(t, { ratio: 1 })
  app.post('/', async () => {
    for (let count = 0; count < 210; count++) await remote.call({ operation: 'look', path: '/' })
    return 'ok'
  })
  await app.inject({ method: 'POST', url: '/' })
  await app.close()
  assert.equal(sink.spans.length, 201)
  assert.equal(await dropped(registry, 'limit'), 10)
})

test('a command of Redis is a child span, by its name alone', async t => {
  const running = await redisServer(t)
  if (running === undefined) return
  const { app, sink } = await server(t, { ratio: 1 })
  await app.register(redis, { url: running.url, commandTimeout: 5_000 })
  app.get('/', async () => {
    await app.redis.set('k3y', 'v4lue')
    return app.redis.get('k3y')
  })
  await app.ready()
  await eventually(() => app.redis.status === 'ready')
  assert.equal((await app.inject('/')).body, 'v4lue')
  await app.close()
  const root = sink.spans.find(({ kind }) => kind === 'server')!
  const commands = sink.spans.filter(({ parentId }) => parentId === root.spanId)
  assert.deepEqual(
    commands.map(({ name }) => name),
    ['set', 'get']
  )
  assert.equal(commands[0]!.attributes['db.system.name'], 'redis')
  assert.doesNotMatch(sink.requests.map(({ body }) => body.toString('latin1')).join(), /k3y|v4lue/)
})

test('every line of a recorded request names its trace', async t => {
  const lines: Lines = []
  const stream = { write: (line: string) => void lines.push(JSON.parse(line)) }
  const app = Fastify({ logger: { stream }, logController: new OneLinePerRequest() })
  const sink = await startFakeOtlp()
  t.after(() => sink.close())
  t.after(() => app.close())
  await app.register(tracing, { endpoint: sink.url, ratio: 1 })
  await app.register(logging)
  app.get('/', async request => {
    request.log.info('inside')
    return 'ok'
  })
  await app.inject('/')
  const [inside, line] = lines
  assert.match(String(inside!.traceId), /^[0-9a-f]{32}$/)
  assert.deepEqual([inside!.traceId, inside!.spanId, inside!.sampled], [line!.traceId, line!.spanId, true])
})

for (const behaviour of ['unavailable', 'hang', 'refused'] as const)
  test(`a receiver that is ${behaviour} delays the close by two seconds at most, and what is lost is counted`, async t => {
    const { app, sink, registry } = await server(t, { ratio: 1 })
    app.get('/', async () => 'ok')
    await app.ready()
    for (const reason of ['queue_full', 'export_failed', 'limit', 'shutdown'])
      assert.equal(await dropped(registry, reason), 0)
    if (behaviour === 'refused') await sink.close()
    else sink.behaviour = behaviour
    for (let count = 0; count < 10; count++) await app.inject('/')
    const before = performance.now()
    await app.close()
    assert.ok(performance.now() - before < 2_500)
    assert.equal((await dropped(registry, 'shutdown')) + (await dropped(registry, 'export_failed')), 10)
  })

test('failed exports are counted, and logged once a minute', async t => {
  const { app, sink, registry, lines } = await server(t, { ratio: 1, interval: 10, timeout: 50 })
  sink.behaviour = 'unavailable'
  app.get('/', async () => 'ok')
  await app.inject('/')
  await eventually(async () => (await dropped(registry, 'export_failed')) === 1)
  await app.inject('/')
  await eventually(async () => (await dropped(registry, 'export_failed')) === 2)
  assert.equal(lines.filter(({ msg }) => msg === 'traces could not be delivered').length, 0, 'the app has no logger')
})

test('a wrong endpoint fails the boot with a sentence', async () => {
  await assert.rejects(
    async () => Fastify().register(tracing, { endpoint: 'collector:4318' }),
    /rhone-tracing: option "endpoint"/
  )
})
