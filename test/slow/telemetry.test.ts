import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Registry } from '@platformatic/prom-client'
import { sql } from 'drizzle-orm'
import Fastify from 'fastify'
import github from '../../integrations/github/index.ts'
import database from '../../plugins/database/index.ts'
import errorTracking from '../../plugins/error-tracking/index.ts'
import errors from '../../plugins/errors/index.ts'
import jobs from '../../plugins/jobs/index.ts'
import logging, { createLogger, OneLinePerRequest } from '../../plugins/logging/index.ts'
import tracing from '../../plugins/tracing/index.ts'
import { startFakeGithub } from '../fakes/github/server.ts'
import { startFakeOtlp } from '../fakes/otlp/server.ts'
import { startFakeSentry } from '../fakes/sentry/server.ts'
import { testConfig } from '../support/app.ts'
import { emptyDatabase, freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'
import { launchServer, startServer } from '../support/process.ts'

type Line = Record<string, unknown>

async function dataDir(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'rhone-telemetry-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  return directory
}

test('a request, the job that it sends and the job’s call to GitHub are linked; planted secrets leak nowhere', async t => {
  const [sink, sentry, fake] = await Promise.all([startFakeOtlp(), startFakeSentry(), startFakeGithub()])
  for (const server of [sink, sentry, fake]) t.after(() => server.close())
  const lines: Line[] = []
  const logger = createLogger({ level: 'debug', destination: { write: line => void lines.push(JSON.parse(line)) } })
  const app = Fastify({ loggerInstance: logger as never, logController: new OneLinePerRequest() })
  t.after(() => app.close())
  await app.register(errors, { sinks: [failure => app.errorTracking.capture(failure)] })
  await app.register(tracing, { endpoint: sink.url, ratio: 1 })
  await app.register(logging)
  await app.register(errorTracking, { dsn: sentry.dsn })
  await app.register(database, { url: await emptyDatabase(t), queueTimeout: 10_000 })
  const { id, slug, privateKey } = fake.app
  await app.register(github, { appId: id, slug, privateKey, url: fake.url, apiUrl: fake.url })
  await app.register(jobs, {
    pollInterval: 50,
    onDead: dead => app.errorTracking.capture(dead),
    queues: [
      {
        name: 'tell-github',
        concurrency: 1,
        timeout: 10,
        retries: 0,
        retryDelay: 1,
        async run(_data, job) {
          job.log.info('told')
          await app.github.ping(AbortSignal.timeout(5_000))
          throw new Error('token=pl4nted-in-job')
        }
      }
    ]
  })
  app.post('/things', async () => {
    await app.db.execute(sql`select ${'pl4nted-sql'}::text`)
    await app.jobs.send(null, 'tell-github', { note: 'pl4nted-job' })
    throw new Error('password=pl4nted-message')
  })
  await app.ready()
  await app.jobs.start()
  await app.inject({
    method: 'POST',
    url: '/things?token=pl4nted-query',
    headers: { cookie: 'a=pl4nted-cookie', authorization: 'Bearer pl4nted-token' },
    payload: { secret: 'pl4nted-body' }
  })
  await eventually(() => sentry.events.length === 2, Boolean, 30_000)
  await app.close()

  const request = lines.find(({ msg }) => msg === 'request')!
  const told = lines.find(({ msg }) => msg === 'told')!
  const consumer = sink.spans.find(({ kind }) => kind === 'consumer')!
  const inRequest = sink.spans.filter(({ parentId }) => parentId === request.spanId).map(({ name }) => name)
  assert.ok(inRequest.includes('select'), `only ${inRequest}`)
  assert.deepEqual([told.traceId, told.spanId, told.sampled], [consumer.traceId, consumer.spanId, true])
  assert.equal(told.requestId, request.reqId)
  assert.equal(told.queue, 'tell-github')
  assert.notEqual(consumer.traceId, request.traceId)
  assert.equal(consumer.parentId, '')
  assert.equal(consumer.failed, true)
  assert.deepEqual(consumer.links, [{ traceId: request.traceId, spanId: request.spanId }])
  const call = sink.spans.find(({ name, traceId }) => name.startsWith('github ') && traceId === consumer.traceId)!
  assert.equal(call.parentId, consumer.spanId)
  const asked = fake.requests.at(-1)!
  assert.equal(asked.headers.traceparent, `00-${call.traceId}-${call.spanId}-01`)
  assert.equal(asked.headers.baggage, undefined)
  assert.equal(asked.headers['sentry-trace'], undefined)

  const traces = sentry.events.map(({ contexts }) => contexts!.trace!.trace_id)
  assert.deepEqual(new Set(traces), new Set([request.traceId, consumer.traceId]))
  const jobEvent = sentry.events.find(({ tags }) => tags!.queue === 'tell-github')!
  assert.ok(jobEvent)
  const left = [...sentry.bodies, ...sink.requests.map(({ body }) => body.toString('latin1'))].join('\n')
  assert.doesNotMatch(left, /pl4nted/)
  const elsewhere = JSON.stringify(fake.requests.map(({ headers, path }) => [headers, path]))
  assert.doesNotMatch(elsewhere, /pl4nted/)
})

test('a job is linked to its request even without an endpoint', async t => {
  const lines: Line[] = []
  const app = Fastify({ logger: { stream: { write: line => void lines.push(JSON.parse(line)) } } })
  t.after(() => app.close())
  const seen: object[] = []
  await app.register(tracing, { registry: new Registry() })
  await app.register(database, { url: await emptyDatabase(t), queueTimeout: 10_000 })
  const run = async (data: object, job: { log: { info(text: string): void } }) => {
    seen.push(data)
    job.log.info('ran')
  }
  await app.register(jobs, {
    pollInterval: 50,
    queues: [{ name: 'work', concurrency: 1, timeout: 10, retries: 0, retryDelay: 1, run }]
  })
  app.post('/', async request => {
    await app.db.transaction(tx => app.jobs.send(tx, 'work', { a: 1 }))
    return request.id
  })
  await app.ready()
  await app.jobs.start()
  const { body } = await app.inject({ method: 'POST', url: '/', payload: { any: 'thing' } })
  await eventually(() => seen.length === 1)
  assert.deepEqual(seen, [{ a: 1 }], 'the envelope is not part of the data')
  const line = lines.find(({ msg }) => msg === 'ran')!
  assert.equal(line.requestId, body)
  assert.equal(line.traceId, undefined)
})

test('a server without an endpoint or a DSN loads neither OpenTelemetry nor Sentry', { timeout: 120_000 }, async t => {
  const config = await testConfig(t, { LOG_LEVEL: 'silent' })
  // The Prometheus client includes only the API, which does nothing by itself.
  const script = `
    const TELEMETRY = /@opentelemetry\\/(?!api\\/)|@sentry/
    import { registerHooks } from 'node:module'
    const loaded = []
    registerHooks({ load(url, context, next) { loaded.push(url); return next(url, context) } })
    const { buildApp } = await import('./src/app.ts')
    const { loadConfig } = await import('./src/config/index.ts')
    const app = await buildApp(loadConfig(JSON.parse(process.argv[1])), { database: false })
    await app.ready()
    await app.close()
    process.stdout.write(JSON.stringify({ count: loaded.length, telemetry: loaded.filter(url => TELEMETRY.test(url)) }))
    process.exit(0)`
  const load = async (variables: object) => {
    const settings = JSON.stringify({ DATA_DIR: config.dataDir, LOG_LEVEL: 'silent', ...variables })
    const child = spawn(process.execPath, ['--input-type=module', '-e', script, settings], {
      cwd: resolve(import.meta.dirname, '../..'),
      stdio: ['ignore', 'pipe', 'inherit']
    })
    let text = ''
    child.stdout.on('data', chunk => (text += chunk))
    await once(child, 'close')
    return JSON.parse(text) as { count: number; telemetry: string[] }
  }
  const without = await load({})
  assert.ok(without.count > 100)
  assert.deepEqual(without.telemetry, [])
  const configured = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1', SENTRY_DSN: 'http://key@127.0.0.1:1/42' }
  assert.ok((await load(configured)).telemetry.length > 10)
})

test('an authenticated caller can request a trace; telemetry delays the shutdown by at most two seconds', {
  timeout: 120_000
}, async t => {
  const sink = await startFakeOtlp()
  t.after(() => sink.close())
  const server = await startServer(t, {
    DATABASE_URL: await freshDatabase(t),
    DATA_DIR: await dataDir(t),
    OTEL_EXPORTER_OTLP_ENDPOINT: sink.url,
    OTEL_TRACES_SAMPLER_ARG: '0'
  })
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  const ask = (headers: Record<string, string>) =>
    fetch(`${server.url}/api/v1/me`, { headers: { traceparent, ...headers } })
  const reply = await ask({ authorization: `Bearer ${server.token}` })
  assert.equal(reply.status, 200)
  assert.equal(reply.headers.get('x-trace-id'), '4bf92f3577b34da6a3ce929d0e0e4736')
  await ask({})
  await eventually(() => sink.spans.some(({ name }) => name === 'GET /api/v1/me'), Boolean, 30_000)
  assert.equal(sink.spans.filter(({ name }) => name === 'GET /api/v1/me').length, 1)
  await eventually(() => server.logs().filter(({ route }) => route === '/api/v1/me').length === 2)
  assert.deepEqual(
    server
      .logs()
      .filter(({ route }) => route === '/api/v1/me')
      .map(({ sampled, traceId }) => [sampled, traceId]),
    [
      [true, '4bf92f3577b34da6a3ce929d0e0e4736'],
      [false, '4bf92f3577b34da6a3ce929d0e0e4736']
    ]
  )

  sink.behaviour = 'hang'
  await ask({ authorization: `Bearer ${server.token}` })
  server.child.kill('SIGTERM')
  assert.equal(await server.exited, 0)
  const [stopping, stopped] = ['stopping', 'stopped'].map(text => server.logs().find(({ msg }) => msg === text)!)
  const took = Date.parse(String(stopped!.time)) - Date.parse(String(stopping!.time))
  assert.ok(took < 10_000, `it has taken ${took} ms`)
  assert.ok(!server.logs().some(({ msg }) => msg === 'unhandled rejection'))
})

test('a crash is reported before the process ends with 1', { timeout: 120_000 }, async t => {
  const sentry = await startFakeSentry()
  t.after(() => sentry.close())
  const directory = await dataDir(t)
  const crashing = resolve(import.meta.dirname, '../fixtures/swaps/crashing.ts')
  const server = launchServer(t, {
    DATABASE_URL: await freshDatabase(t),
    DATA_DIR: directory,
    SENTRY_DSN: sentry.dsn,
    RHONE_VERSION: '9.9.9',
    RHONE_SWAP: `pressure=off,event-streams=${crashing}`
  })
  assert.equal(await server.exited, 1)
  assert.equal(sentry.events.length, 1)
  assert.equal(sentry.events[0]!.level, 'fatal')
  assert.equal(sentry.events[0]!.release, '9.9.9')
  assert.equal(sentry.events[0]!.exception!.values[0]!.value, 'nobody expects this')
})
