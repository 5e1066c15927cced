import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, mock, type TestContext, test } from 'node:test'
import { Registry } from '@platformatic/prom-client'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import type { Db } from '../../drizzle/schema.ts'
import audit, { type AuditDeps, type AuditOptions, type AuditRow, type AuditSink } from '../../plugins/audit/index.ts'
import type { Principal } from '../../plugins/auth/index.ts'
import database from '../../plugins/database/index.ts'
import { errors } from '../../plugins/lib/errors.ts'
import { listAudit } from '../../src/domain/audit/events.ts'
import { auditSink, type SignedRow } from '../../src/domain/audit/log.ts'
import { auditLog } from '../domain/support.ts'
import { freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'

const ADA: Principal = {
  userId: '0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a',
  username: 'ada',
  isOperator: false,
  via: 'token',
  credentialId: 't',
  scopes: ['admin']
}
const TX = {} as Db
const EVENT = { type: 'app', action: 'create', resource: 'app' } as const
const POLICY = { config: { audit: { type: 'app', action: 'delete', resource: 'app' } } } as const

class MemorySink implements AuditSink {
  readonly inTransaction: AuditRow[] = []
  readonly batches: AuditRow[][] = []
  failures = 0

  get rows(): AuditRow[] {
    return this.batches.flat()
  }
  async write(_tx: Db, row: AuditRow): Promise<void> {
    this.inTransaction.push(row)
  }
  async writeMany(rows: readonly AuditRow[]): Promise<void> {
    if (this.failures-- > 0) throw new Error('connection refused')
    this.batches.push([...rows])
  }
}

/** An app whose caller is named by a header, and whose replies a handler makes. */
async function setup(t: TestContext, options: Partial<AuditOptions> = {}, deps: AuditDeps = {}) {
  const lines: Record<string, unknown>[] = []
  const app = Fastify({ logger: { level: 'info', stream: { write: line => void lines.push(JSON.parse(line)) } } })
  t.after(() => app.close())
  const sink = new MemorySink()
  app.decorateRequest('principal', null)
  app.addHook('onRequest', async request => {
    if (request.headers['x-user'] === 'ada') request.principal = ADA
  })
  await app.register(audit, Object.freeze({ sink, flushInterval: 5, ...options, ...deps }))
  app.delete<{ Params: { app: string }; Querystring: { status: number } }>('/apps/:app', POLICY, (request, reply) =>
    reply.code(Number(request.query.status)).send({})
  )
  app.delete('/unaudited', (_request, reply) => reply.code(403).send({}))
  return { app, sink, lines }
}

async function rowOf(app: FastifyInstance, sink: MemorySink, event: object, headers: Record<string, string> = {}) {
  app.post('/', async request => {
    await app.audit.record(TX, request, { ...EVENT, ...event })
    return 'ok'
  })
  const reply = await app.inject({ method: 'POST', url: '/', headers })
  assert.equal(reply.statusCode, 200)
  return sink.inTransaction.at(-1) as AuditRow
}

const asAda = { 'x-user': 'ada' }
const remove = (app: FastifyInstance, status: number, headers: Record<string, string> = asAda) =>
  app.inject({ method: 'DELETE', url: `/apps/hello?status=${status}`, headers })

describe('an event recorded by a handler', () => {
  test('contains actor, address, user agent and request id', async t => {
    const { app, sink } = await setup(t)
    const row = await rowOf(
      app,
      sink,
      { resourceId: 'id-1', resourceName: 'hello' },
      { ...asAda, 'user-agent': 'curl/8' }
    )
    assert.deepEqual(row, {
      eventType: 'app',
      action: 'create',
      outcome: 'success',
      teamId: null,
      appId: null,
      resource: 'app',
      resourceId: 'id-1',
      resourceName: 'hello',
      details: null,
      userId: ADA.userId,
      actor: 'ada',
      ip: '127.0.0.1',
      userAgent: 'curl/8',
      requestId: 'req-1'
    })
  })

  test('uses the resolved client address, if there is one', async t => {
    const { app, sink } = await setup(t)
    app.decorateRequest('clientIp', { getter: () => ({ address: '203.0.113.9', bucket: '203.0.113.9' }) })
    assert.equal((await rowOf(app, sink, {}, { 'x-forwarded-for': '6.6.6.6' })).ip, '203.0.113.9')
  })

  test('keeps only the details that the catalogue or the options allow', async t => {
    const { app, sink } = await setup(t, { details: { 'app.create': ['size'] } })
    const row = await rowOf(app, sink, { details: { size: 3, slug: 'hello', password: 'hunter2' } })
    assert.deepEqual(row.details, { size: 3 })
  })

  test('drops all details of an unlisted action, and ignores inherited keys', async t => {
    const { app, sink } = await setup(t)
    assert.equal((await rowOf(app, sink, { action: 'invent', details: { slug: 'x' } })).details, null)
    const inherited = await setup(t)
    const details = Object.create({ slug: 'inherited' })
    assert.equal((await rowOf(inherited.app, inherited.sink, { details })).details, null)
  })

  test('is limited in size, whatever a client sends', async t => {
    const { app, sink } = await setup(t)
    const deep = { a: { b: { c: 1 } } }
    const row = await rowOf(
      app,
      sink,
      {
        resourceName: `a\0b${'\u{1F527}'.repeat(300)}`,
        details: { slug: 'x'.repeat(9000), region: Array(900).fill(1), githubRepo: deep, githubBranch: '\ud800' }
      },
      { 'user-agent': 'x'.repeat(9000) }
    )
    assert.equal(row.userAgent?.length, 512)
    assert.match(row.resourceName as string, /^ab(\u{1F527})+$/u)
    assert.ok((row.resourceName as string).length <= 255)
    const details = row.details as { slug: string; region: number[]; githubRepo: unknown; githubBranch: string }
    assert.equal(details.slug.length, 500)
    assert.equal(details.region.length, 50)
    assert.deepEqual(details.githubRepo, { a: { b: null } })
    assert.equal(details.githubBranch, '\ufffd')
  })

  test('fails the change if it cannot be written', async t => {
    const registry = new Registry()
    const failing = { write: () => Promise.reject(new Error('disk full')), writeMany: async () => {} }
    const { app } = await setup(t, {}, { sink: failing, registry })
    app.post('/', async request => app.audit.record(TX, request, EVENT))
    assert.equal((await app.inject({ method: 'POST', url: '/' })).statusCode, 500)
    assert.match(await registry.metrics(), /rhone_audit_write_failures_total 1\n/)
    assert.doesNotMatch(await registry.metrics(), /rhone_audit_events_total\{/)
  })

  test('is counted from zero if its type is known, so that rate() sees the first one', async t => {
    const registry = new Registry()
    await setup(t, {}, { registry, types: ['app', 'auth'] })
    for (const outcome of ['success', 'failure', 'denied'])
      assert.match(
        await registry.metrics(),
        new RegExp(`rhone_audit_events_total\\{type="auth",outcome="${outcome}"\\} 0\n`)
      )
  })

  test('is also logged and counted', async t => {
    const registry = new Registry()
    const { app, sink, lines } = await setup(t, {}, { registry })
    await rowOf(app, sink, {})
    assert.deepEqual(lines.find(line => line.msg === 'audit')?.audit, sink.inTransaction[0])
    assert.match(await registry.metrics(), /rhone_audit_events_total\{type="app",outcome="success"\} 1\n/)
  })

  test('without a request names the acting component', async t => {
    const { app, sink } = await setup(t)
    await app.audit.recordSystem(TX, { ...EVENT, actor: 'schedule' })
    await app.audit.recordSystem(null, { ...EVENT, actor: 'schedule' })
    assert.equal(sink.inTransaction[0]?.actor, 'schedule')
    assert.equal(sink.rows[0]?.actor, 'schedule', 'without a transaction it is written on its own')
  })

  test('is only logged if there is no sink', async t => {
    const app = Fastify()
    t.after(() => app.close())
    await app.register(audit)
    app.post('/', async request => app.audit.record(null, request, EVENT))
    assert.equal((await app.inject({ method: 'POST', url: '/' })).statusCode, 200)
  })
})

describe('a failed attempt', () => {
  test('is recorded as denied or failed, but not in floods', async t => {
    const { app, sink } = await setup(t)
    const statuses = [200, 204, 304, 400, 401, 403, 404, 409, 422, 429, 500, 503]
    for (const status of statuses) await remove(app, status)
    await app.close()
    assert.deepEqual(
      sink.rows.map(row => row.outcome),
      ['failure', 'denied', 'denied', 'denied', 'failure', 'failure', 'failure']
    )
  })

  test('is recorded only on routes with an audit config', async t => {
    const { app, sink } = await setup(t)
    await app.inject({ method: 'DELETE', url: '/unaudited', headers: asAda })
    await app.inject({ method: 'DELETE', url: '/nowhere', headers: asAda })
    await app.close()
    assert.deepEqual(sink.rows, [])
  })

  test('names its target, from the URL or the handler', async t => {
    const { app, sink } = await setup(t)
    const about = { teamId: 'team-1', appId: 'app-1', resourceId: 'app-1', resourceName: 'Hello' }
    app.put('/apps/:app', POLICY, async request => {
      app.audit.about(request, { teamId: 'team-1' })
      app.audit.about(request, about)
      throw errors.forbidden()
    })
    await remove(app, 403)
    await app.inject({ method: 'PUT', url: '/apps/hello', headers: asAda })
    await app.close()
    const [byUrl, found] = sink.rows
    assert.deepEqual([byUrl?.resourceId, byUrl?.teamId], ['hello', null])
    assert.deepEqual({ ...about, ...found }, found)
  })

  test('is recorded even if the client disconnects', async t => {
    const { app, sink } = await setup(t)
    const { promise: hungUp, resolve } = Promise.withResolvers<void>()
    const begun = Promise.withResolvers<void>()
    app.post('/slow', POLICY, async () => {
      begun.resolve()
      await hungUp
      throw errors.forbidden()
    })
    app.addHook('onRequestAbort', (_request, next) => {
      resolve()
      next()
    })
    await app.listen({ port: 0, host: '127.0.0.1' })
    const socket = connect((app.server.address() as { port: number }).port, '127.0.0.1')
    await once(socket, 'connect')
    socket.write('POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n')
    await begun.promise
    socket.resetAndDestroy()
    await hungUp
    await eventually(() => sink.rows.length > 0)
    assert.equal(sink.rows[0]?.outcome, 'denied')
  })

  test('is written in batches, by number or after a moment', async t => {
    const { app, sink } = await setup(t, { batchSize: 3, flushInterval: 40 })
    await app.ready()
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const sizes = () => sink.batches.map(batch => batch.length)
    for (let i = 0; i < 7; i++) await remove(app, 403)
    t.mock.timers.tick(39)
    assert.deepEqual(sizes(), [3, 3])
    t.mock.timers.tick(1)
    assert.deepEqual(sizes(), [3, 3, 1])
    assert.ok(sink.rows.every(row => row.createdAt instanceof Date && typeof row.id === 'string'))
  })

  test('waits for a sink that is briefly unavailable', async t => {
    const { app, sink, lines } = await setup(t)
    sink.failures = 1
    await remove(app, 403)
    await eventually(() => sink.rows.length > 0)
    assert.equal(lines.filter(line => line.msg === 'audit write failed').length, 1)
  })

  test('that is permanently lost is counted and logged', async t => {
    const registry = new Registry()
    const { app, sink, lines } = await setup(t, { queueSize: 2, flushInterval: 10_000 }, { registry })
    sink.failures = Number.POSITIVE_INFINITY
    for (let i = 0; i < 3; i++) await remove(app, 403)
    await app.close()
    assert.match(await registry.metrics(), /rhone_audit_write_failures_total 3\n/)
    const lost = lines.filter(line => line.msg === 'audit events are lost')
    assert.equal(lost.flatMap(line => line.audit).length, 3)
  })

  test('by an anonymous caller is recorded up to a limit per minute, and then only counted', async t => {
    const registry = new Registry()
    const { app, sink } = await setup(t, { anonymousPerMinute: 2 }, { registry })
    for (let i = 0; i < 5; i++) await remove(app, 401, {})
    await remove(app, 403)
    await app.close()
    assert.deepEqual(
      sink.rows.map(row => row.actor),
      [null, null, 'ada']
    )
    assert.match(await registry.metrics(), /rhone_audit_suppressed_total 3\n/)
  })

  test('from a noisy address does not hide those of others', async t => {
    const { app, sink } = await setup(t, { anonymousPerMinute: 6, anonymousPerAddress: 2 })
    const from = (remoteAddress: string) => app.inject({ method: 'DELETE', url: '/apps/42?status=401', remoteAddress })
    for (let i = 0; i < 5; i++) await from('192.0.2.1')
    await from('192.0.2.2')
    await app.close()
    assert.deepEqual(
      sink.rows.map(row => row.ip),
      ['192.0.2.1', '192.0.2.1', '192.0.2.2']
    )
  })
})

test('a wrong option fails the boot', () =>
  assert.rejects(async () => {
    const app = Fastify()
    app.register(audit, { batchSize: 0 })
    await app.ready()
  }, /rhone-audit: option "batchSize"/))

describe('over PostgreSQL', () => {
  async function withDatabase(t: TestContext) {
    const app = Fastify()
    await app.register(database, { url: await freshDatabase(t), poolMax: 3 })
    await app.register(audit, { sink: auditSink(auditLog, () => app.db), flushInterval: 5 })
    t.after(() => app.close())
    return app
  }
  const handle = async (app: FastifyInstance, handler: (request: FastifyRequest) => Promise<unknown>, headers = {}) => {
    app.post('/apps/:app', { config: { audit: EVENT } }, async request => (await handler(request)) ?? 'ok')
    await app.ready()
    return app.inject({ method: 'POST', url: '/apps/hello', headers })
  }

  test('a statement that makes a change can write its row; nothing is recorded if it has changed nothing', async t => {
    const app = await withDatabase(t)
    const announced = mock.method(app.log, 'info', () => {})
    const change = async (request: FastifyRequest) =>
      app.audit.recordWith(request, { ...EVENT, details: { slug: 'a' } }, async row => {
        const { requestId, detailsText, mac } = row as SignedRow
        assert.deepEqual([requestId, detailsText, mac.length], [request.id, '{"slug":"a"}', 32])
        return request.headers['x-missed'] ? undefined : 'changed'
      })
    assert.equal((await handle(app, change)).body, 'changed')
    const isAnnounced = (call: { arguments: unknown[] }) => call.arguments[1] === 'audit'
    assert.equal(announced.mock.calls.filter(isAnnounced).length, 1)
    assert.equal((await app.inject({ method: 'POST', url: '/apps/hello', headers: { 'x-missed': '1' } })).body, 'ok')
    assert.equal(announced.mock.calls.filter(isAnnounced).length, 1)
  })

  test('the row and the change are committed together, or neither', async t => {
    const app = await withDatabase(t)
    const rename = async (request: FastifyRequest) =>
      app.db.transaction(async tx => {
        await app.audit.record(tx, request, { ...EVENT, details: { slug: 'a\0b' } })
        if (request.headers['x-fail']) throw errors.conflict('no')
      })
    assert.equal((await handle(app, rename)).statusCode, 200)
    await app.inject({ method: 'POST', url: '/apps/hello', headers: { 'x-fail': '1' } })
    await eventually(async () => (await listAudit(app.db, {}, {})).items.length === 2)
    const { items } = await listAudit(app.db, {}, {})
    assert.deepEqual(
      items.map(item => [item.outcome, item.details]),
      [
        ['failure', null],
        ['success', { slug: 'ab' }]
      ]
    )
  })

  test('attempts that wait are written when the app closes', async t => {
    const url = await freshDatabase(t)
    const app = Fastify()
    await app.register(database, { url })
    await app.register(audit, { sink: auditSink(auditLog, () => app.db), flushInterval: 60_000 })
    const reply = await handle(app, async () => {
      throw errors.forbidden()
    })
    assert.equal(reply.statusCode, 403)
    await app.close()

    const reader = Fastify()
    t.after(() => reader.close())
    await reader.register(database, { url })
    const { items } = await listAudit(reader.db, { outcome: 'denied', type: 'app', action: 'create' }, {})
    assert.deepEqual(
      items.map(item => item.resourceId),
      ['hello']
    )
  })
})
