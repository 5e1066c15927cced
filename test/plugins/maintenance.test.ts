import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, type TestContext, test } from 'node:test'
import { Registry } from '@platformatic/prom-client'
import { sql } from 'drizzle-orm'
import Fastify, { type FastifyInstance } from 'fastify'
import audit from '../../plugins/audit/index.ts'
import type { Principal } from '../../plugins/auth/index.ts'
import database from '../../plugins/database/index.ts'
import maintenance, {
  type Closure,
  type MaintenanceDeps,
  type MaintenanceOptions,
  type MaintenanceState,
  type MaintenanceStore
} from '../../plugins/maintenance/index.ts'
import { memoryMaintenanceStore } from '../../plugins/maintenance/store-memory.ts'
import { postgresMaintenanceStore } from '../../plugins/maintenance/store-postgres.ts'
import securityHeaders from '../../plugins/security-headers.ts'
import { listAudit } from '../../src/domain/audit/events.ts'
import { auditSink } from '../../src/domain/audit/log.ts'
import { auditLog } from '../domain/support.ts'
import { setAhead } from '../support/clock.ts'
import { freshDatabase, isWaitingForLock, terminateBackends, withCluster } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'
import { stays } from '../support/stays.ts'

const OPEN: MaintenanceState = { enabled: false, message: null, retryAfter: 300, until: null, since: null, by: null }
const OPERATOR: Principal = {
  userId: '0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a',
  username: 'ada',
  isOperator: true,
  via: 'token',
  credentialId: 't',
  scopes: ['admin']
}
const BROWSER = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8'

type Setup = Partial<MaintenanceOptions> & MaintenanceDeps

/** The plugin on an app with a few routes; the caller is an operator unless a header says otherwise. */
function create(options: Setup = {}, ...before: ((app: FastifyInstance) => unknown)[]) {
  const app = Fastify()
  app.decorateRequest('principal', null)
  app.addHook('onRequest', async request => {
    if (request.headers['x-user'] !== 'nobody') request.principal = OPERATOR
  })
  for (const register of before) register(app)
  app.register(maintenance, Object.freeze(options))
  app.after(() => {
    app.get('/apps', () => 'apps')
    app.get('/health', { config: { maintenance: false } }, () => 'healthy')
  })
  return app
}

async function start(t: TestContext, options: Setup = {}, ...before: ((app: FastifyInstance) => unknown)[]) {
  const app = create(options, ...before)
  t.after(() => app.close())
  await app.ready()
  return app
}

const change = (app: FastifyInstance, payload: object, headers: Record<string, string> = {}) =>
  app.inject({ method: 'POST', url: '/admin/maintenance', payload, headers })
const read = async (app: FastifyInstance) => (await app.inject('/admin/maintenance')).json<MaintenanceState>()
const statusOf = async (app: FastifyInstance, url = '/apps') => (await app.inject(url)).statusCode
const soon = (ms: number) => new Date(Date.now() + ms).toISOString()

const letPass = (t: TestContext, milliseconds: number) => setAhead(t, Date, milliseconds)

describe('an open platform', () => {
  test('is the initial state', async t => {
    const app = await start(t)
    assert.equal(await statusOf(app), 200)
    assert.deepEqual(app.maintenance.state, OPEN)
    assert.deepEqual(await read(app), OPEN)
  })
})

describe('a closed platform', () => {
  test('answers 503 with Retry-After, even on unknown URLs', async t => {
    const app = await start(t)
    await change(app, { enabled: true, message: 'New disks', retryAfter: 17 })
    for (const url of ['/apps', '/nowhere']) {
      const reply = await app.inject({ url, headers: { 'x-user': 'nobody' } })
      assert.equal(reply.statusCode, 503)
      assert.equal(reply.headers['retry-after'], '17')
      assert.equal(reply.json().code, 'MAINTENANCE')
      assert.match(String(reply.headers['content-type']), /^application\/json/)
    }
  })

  test('has a Retry-After of 300 seconds by default', async t => {
    const app = await start(t)
    await change(app, { enabled: true })
    assert.equal((await app.inject('/apps')).headers['retry-after'], '300')
  })

  test('has a Retry-After until its end, if there is one', async t => {
    const app = await start(t)
    await change(app, { enabled: true, until: soon(89_500) })
    assert.equal((await app.inject('/apps')).headers['retry-after'], '90')
  })

  test('stays open on exempt routes and on its own route', async t => {
    const app = await start(t)
    await change(app, { enabled: true })
    assert.equal(await statusOf(app, '/health'), 200)
    assert.equal(await statusOf(app, '/admin/maintenance'), 200)
    assert.equal((await change(app, { enabled: false })).statusCode, 200)
    assert.equal(await statusOf(app), 200)
  })

  test('shows browsers a page', async t => {
    const app = await start(t)
    await change(app, { enabled: true, message: '<b>New disks</b> __nonce__' })
    const reply = await app.inject({ url: '/apps', headers: { accept: BROWSER } })
    assert.equal(reply.statusCode, 503)
    assert.equal(reply.headers['content-type'], 'text/html; charset=utf-8')
    assert.equal(reply.headers['cache-control'], 'no-store')
    assert.equal(reply.headers['retry-after'], '300')
    for (const text of [
      '<title>Under maintenance</title>',
      '<h1>Under maintenance</h1>',
      '<p>This service is closed for maintenance and will be back shortly.</p>',
      '&lt;b&gt;New disks&lt;/b&gt; __nonce__'
    ])
      assert.ok(reply.body.includes(text), text)
    assert.doesNotMatch(reply.body, /<time|Rhone/)
  })

  test('shows a page with the texts of the app and the end time', async t => {
    const app = await start(t, {
      title: 'Wartung __nonce__',
      heading: 'Wartung & Pflege',
      sentences: ['Wir sind bald zurück.', 'Daten bleiben erhalten.'],
      untilSentence: 'Ab {until} geht es weiter.'
    })
    await change(app, { enabled: true, message: 'Neue Platten', until: '2999-12-31T23:59:30Z' })
    const { body } = await app.inject({ url: '/apps', headers: { accept: BROWSER } })
    assert.match(body, /<title>Wartung __nonce__<\/title>/)
    assert.match(
      body.replaceAll('\n', ''),
      new RegExp(
        '<h1>Wartung &amp; Pflege</h1><p>Wir sind bald zurück.</p><blockquote>Neue Platten</blockquote>' +
          '<p>Ab <time datetime="2999-12-31T23:59:30.000Z">2999-12-31 23:59 UTC</time> geht es weiter.</p>' +
          '<p>Daten bleiben erhalten.</p>'
      )
    )
  })

  test('shows a custom page of the app', async t => {
    const page = ({ message, until }: Closure, nonce: string) => `<p data-nonce="${nonce}">${message} ${until}</p>`
    const app = await start(t, { page }, app => app.register(securityHeaders))
    await change(app, { enabled: true, message: 'New disks' })
    const { body, headers } = await app.inject({ url: '/apps', headers: { accept: BROWSER } })
    const [, nonce, text] = /data-nonce="([^"]+)">(.*)<\/p>/.exec(body)!
    assert.equal(text, 'New disks null')
    assert.ok(String(headers['content-security-policy']).includes(`'nonce-${nonce}'`))
  })

  test('does not show the page to clients that prefer JSON or name no type', async t => {
    const app = await start(t)
    await change(app, { enabled: true })
    for (const accept of ['*/*', 'application/json', 'application/json, text/html;q=0.5', 'application/problem+json'])
      assert.match(
        String((await app.inject({ url: '/apps', headers: { accept } })).headers['content-type']),
        /json/,
        accept
      )
  })

  test("styles the page by the security headers' nonce", async t => {
    const app = await start(t, {}, app => app.register(securityHeaders))
    await change(app, { enabled: true })
    const reply = await app.inject({ url: '/apps', headers: { accept: BROWSER } })
    const nonce = /style-src [^;]*'nonce-([^']+)'/.exec(String(reply.headers['content-security-policy']))?.[1]
    assert.ok(nonce)
    assert.ok(reply.body.includes(`<style nonce="${nonce}">`))
    assert.equal(reply.body.match(/style=/), null)
  })
})

describe('the routes', () => {
  test('are for operators', async t => {
    const app = await start(t)
    for (const method of ['GET', 'POST'] as const) {
      const payload = method === 'POST' ? { enabled: true } : undefined
      const reply = await app.inject({ method, url: '/admin/maintenance', payload, headers: { 'x-user': 'nobody' } })
      assert.equal(reply.statusCode, 403)
    }
    assert.equal(app.maintenance.state.enabled, false)
  })

  test('reject everybody in an app without authentication', async t => {
    const app = Fastify()
    t.after(() => app.close())
    await app.register(maintenance)
    assert.equal((await app.inject('/admin/maintenance')).statusCode, 403)
  })

  test('accept callers that `authorize` accepts', async t => {
    const app = Fastify()
    t.after(() => app.close())
    await app.register(maintenance, { authorize: () => true, path: '/close' })
    const reply = await app.inject({ method: 'POST', url: '/close', payload: { enabled: true } })
    assert.deepEqual([reply.statusCode, reply.json().by], [200, null])
  })

  test('reply with the resulting state', async t => {
    const app = await start(t)
    const until = soon(60_000)
    const reply = await change(app, { enabled: true, message: 'New disks', retryAfter: 60, until })
    const { since, ...rest } = reply.json<MaintenanceState>()
    assert.deepEqual(rest, { enabled: true, message: 'New disks', retryAfter: 60, until, by: 'ada' })
    assert.ok(Math.abs(Date.parse(String(since)) - Date.now()) < 5_000)
    assert.deepEqual(await read(app), reply.json())
    assert.deepEqual((await change(app, { enabled: false })).json(), { ...OPEN, by: 'ada' })
  })

  test('are idempotent', async t => {
    const app = await start(t)
    const first = await change(app, { enabled: true, message: 'New disks' })
    letPass(t, 5)
    const second = await change(app, { enabled: true, message: 'New disks' })
    assert.deepEqual(second.json(), first.json())
    const third = await change(app, { enabled: true, message: 'Newer disks' })
    assert.equal(third.json().since, first.json().since, 'still the same closure')
    const fromGet = await change(app, {
      enabled: true,
      message: third.json().message,
      retryAfter: third.json().retryAfter,
      until: null
    })
    assert.deepEqual(fromGet.json(), third.json())
  })

  test('keep fields that a second closing omits, and clear those that are null', async t => {
    const app = await start(t)
    const until = soon(60_000)
    await change(app, { enabled: true, message: 'New disks', retryAfter: 60, until })
    const again = (await change(app, { enabled: true, retryAfter: 90 })).json<MaintenanceState>()
    assert.deepEqual([again.message, again.retryAfter, again.until], ['New disks', 90, until])
    const cleared = (await change(app, { enabled: true, message: null, until: null })).json<MaintenanceState>()
    assert.deepEqual([cleared.message, cleared.retryAfter, cleared.until], [null, 90, null])
    await change(app, { enabled: false })
    const anew = (await change(app, { enabled: true })).json<MaintenanceState>()
    assert.deepEqual([anew.message, anew.retryAfter, anew.until], [null, 300, null])
  })

  test('accept times in any zone and answer in UTC', async t => {
    const app = await start(t)
    const reply = await change(app, { enabled: true, until: '2999-01-01T01:30:00.5+01:30' })
    assert.equal(reply.json().until, '2999-01-01T00:00:00.500Z')
  })

  test('refuse invalid values', async t => {
    const app = await start(t)
    const bad = [
      {},
      { enabled: 'yes please' },
      { enabled: true, message: 'x'.repeat(501) },
      { enabled: true, message: 'a\0b' },
      { enabled: true, retryAfter: 0 },
      { enabled: true, retryAfter: 86_401 },
      { enabled: true, retryAfter: 1.5 },
      { enabled: true, until: 'tomorrow' },
      { enabled: true, until: '2020-01-01T00:00:00Z' },
      { enabled: true, until: '2998-12-31T23:59:60Z' },
      { enabled: true, until: '9999-12-31T23:59:59-14:00' },
      { enabled: true, message: '\ud800' }
    ]
    for (const payload of bad) assert.equal((await change(app, payload)).statusCode, 400, JSON.stringify(payload))
    assert.equal(app.maintenance.state.enabled, false)
  })
})

describe('the configured end', () => {
  test('reopens automatically, without requests', async t => {
    const registry = new Registry()
    const app = await start(t, { registry })
    await change(app, { enabled: true, until: soon(1_500) })
    assert.match(await registry.metrics(), /^rhone_maintenance 1$/m)
    await eventually(async () => /^rhone_maintenance 0$/m.test(await registry.metrics()))
    assert.deepEqual(await read(app), { ...OPEN, by: 'maintenance schedule' })
  })

  test('follows the wall clock, not a timer', async t => {
    const app = await start(t)
    await change(app, { enabled: true, until: soon(3_600_000) })
    assert.equal(await statusOf(app), 503)
    letPass(t, 3_600_001)
    assert.equal(app.maintenance.state.enabled, false)
    assert.equal(await statusOf(app), 200)
  })

  test('can be further away than the maximum of a timer', async t => {
    const app = await start(t)
    await change(app, { enabled: true, until: '2999-01-01T00:00:00Z' })
    await stays(async () => (await statusOf(app)) === 503)
  })

  test('in the past makes the next closure a new one', async t => {
    const app = await start(t)
    const first = await change(app, { enabled: true, until: soon(3_600_000) })
    letPass(t, 3_600_001)
    const second = await change(app, { enabled: true })
    assert.ok(second.json().since > first.json().since)
  })
})

describe('metrics', () => {
  test('show whether it is closed and how many requests were refused', async t => {
    const registry = new Registry()
    const app = await start(t, { registry })
    assert.match(await registry.metrics(), /^rhone_maintenance 0$/m)
    await change(app, { enabled: true })
    await statusOf(app)
    await app.inject({ url: '/apps', headers: { accept: BROWSER } })
    await statusOf(app, '/health')
    const text = await registry.metrics()
    assert.match(text, /^rhone_maintenance 1$/m)
    assert.match(text, /^rhone_maintenance_refused_total 2$/m)
  })
})

test('a wrong option fails the boot', () =>
  assert.rejects(async () => {
    const app = Fastify()
    app.register(maintenance, { retryAfter: 5 } as object)
    await app.ready()
  }, /rhone-maintenance: unknown option "retryAfter"/))

describe('a store', () => {
  test('that cannot be read does not prevent the start, and is read again', async t => {
    const memory = memoryMaintenanceStore()
    await memory.update(state => ({ ...state, enabled: true }))
    let isAway = true
    const load = async () => {
      if (isAway) throw new Error('away')
      return memory.load()
    }
    const app = await start(t, { store: { ...memory, load }, retryInterval: 10 })
    assert.equal(await statusOf(app), 200)
    isAway = false
    await eventually(async () => (await statusOf(app)) === 503)
    isAway = true
    await app.maintenance.refresh().catch(() => {})
    assert.equal(await statusOf(app), 503, 'the last known state still applies')
  })

  test('that does not answer delays the start only briefly', async t => {
    const store: MaintenanceStore = { ...memoryMaintenanceStore(), load: () => new Promise(() => {}) }
    const app = await start(t, { store, bootWait: 20 })
    assert.equal(await statusOf(app), 200)
  })

  test('that fails fails the change', async t => {
    const store = { ...memoryMaintenanceStore(), update: () => Promise.reject(new Error('away')) }
    const app = await start(t, { store })
    assert.equal((await change(app, { enabled: true })).statusCode, 500)
    assert.equal(await statusOf(app), 200)
  })

  test('with out-of-order answers is applied in the order of the reads', async t => {
    const answers: ((state: MaintenanceState) => void)[] = []
    let isBooted = false
    const memory = memoryMaintenanceStore()
    const load = () => (isBooted ? new Promise<MaintenanceState>(resolve => answers.push(resolve)) : memory.load())
    const app = await start(t, { store: { ...memory, load } })
    isBooted = true
    const early = app.maintenance.refresh()
    const late = app.maintenance.refresh()
    answers[1]?.({ ...OPEN, enabled: true })
    await late
    answers[0]?.(OPEN)
    await early
    assert.equal(app.maintenance.state.enabled, true)
  })

  test('that answers after the app has closed is not read again', async () => {
    const memory = memoryMaintenanceStore()
    const answers: (() => void)[] = []
    const load = () =>
      new Promise<MaintenanceState>(resolve => {
        answers.push(() => resolve(memory.load()))
      })
    const app = create({ store: { ...memory, load }, pollInterval: 5, bootWait: 0 })
    await app.ready()
    await app.close()
    for (const answer of answers) answer()
    const asked = answers.length
    await stays(() => answers.length === asked)
  })

  test('is read before the first request, even if a notification asks for another read meanwhile', async t => {
    const memory = memoryMaintenanceStore()
    await memory.update(state => ({ ...state, enabled: true }))
    const { promise: never } = Promise.withResolvers<MaintenanceState>()
    let isFirst = true
    const load = () => {
      const answer = isFirst ? memory.load() : never
      isFirst = false
      return answer
    }
    const subscribe: MaintenanceStore['subscribe'] = async onChange => {
      queueMicrotask(onChange)
      return async () => {}
    }
    const app = await start(t, { store: { ...memory, load, subscribe } })
    assert.equal(await statusOf(app), 503)
  })

  test('with an answer in flight during a change does not undo the change', async t => {
    const memory = memoryMaintenanceStore()
    const { promise: stale, resolve } = Promise.withResolvers<MaintenanceState>()
    const { promise: never } = Promise.withResolvers<MaintenanceState>()
    const loads = [memory.load, () => stale, () => never]
    const app = await start(t, { store: { ...memory, load: () => (loads.shift() ?? memory.load)() } })
    const reading = app.maintenance.refresh()
    await change(app, { enabled: true })
    resolve(OPEN)
    await reading
    assert.equal(await statusOf(app), 503)
  })

  test('is left alone after the app has closed', async () => {
    let loads = 0
    let isSubscribed = false
    const memory = memoryMaintenanceStore()
    const store: MaintenanceStore = {
      ...memory,
      load() {
        loads++
        return memory.load()
      },
      async subscribe() {
        isSubscribed = true
        return async () => {
          isSubscribed = false
        }
      }
    }
    const app = create({ store, pollInterval: 5 })
    await app.ready()
    await eventually(() => loads > 2)
    assert.equal(isSubscribed, true)
    await app.close()
    const after = loads
    assert.equal(isSubscribed, false)
    await stays(() => loads === after)
  })
})

describe('over PostgreSQL', () => {
  /** Registered in the server's order: maintenance before the database that stores its state. */
  async function instance(t: TestContext, url: string, options: Setup = {}) {
    const app = Fastify()
    app.decorateRequest('principal', null)
    app.addHook('onRequest', async request => {
      request.principal = OPERATOR
    })
    app.register(audit, { sink: auditSink(auditLog, () => app.db), flushInterval: 5 })
    app.register(maintenance, { store: postgresMaintenanceStore(app), ...options })
    app.register(database, { url, queueTimeout: 5_000, connectTimeout: 5 })
    app.after(() => app.get('/apps', () => 'apps'))
    t.after(() => app.close())
    await app.ready()
    return app
  }
  const auditOf = async (app: FastifyInstance) =>
    (await listAudit(app.db, { type: 'admin' }, {})).items
      .map(item => [item.action, item.outcome, item.actor])
      .reverse()

  test('a change reaches every instance within a second, and all give the same state', async t => {
    const url = await freshDatabase(t)
    const [a, b] = [await instance(t, url), await instance(t, url)]
    const reply = await change(a, { enabled: true, message: 'New disks', until: '2999-01-01T00:00:00Z' })
    const start = performance.now()
    await eventually(async () => (await statusOf(b)) === 503)
    t.diagnostic(`spread in ${(performance.now() - start).toFixed(0)} ms`)
    assert.deepEqual(await read(b), reply.json())
    await change(b, { enabled: false })
    await eventually(async () => (await statusOf(a)) === 200)
  })

  test('it survives a restart', async t => {
    const url = await freshDatabase(t)
    const first = await instance(t, url)
    const reply = await change(first, { enabled: true, message: 'New disks' })
    await first.close()
    const second = await instance(t, url)
    assert.equal(await statusOf(second), 503)
    assert.deepEqual(await read(second), reply.json())
  })

  test('every change is audited with it, and a repeated one is not a change', async t => {
    const app = await instance(t, await freshDatabase(t))
    await change(app, { enabled: true, retryAfter: 60 })
    await change(app, { enabled: true, retryAfter: 60 })
    await change(app, { enabled: true, retryAfter: 61 })
    await change(app, { enabled: true, retryAfter: 0 })
    await change(app, { enabled: false })
    await eventually(async () => (await auditOf(app)).length === 4)
    assert.deepEqual((await auditOf(app)).sort(), [
      ['close', 'success', 'ada'],
      ['reopen', 'success', 'ada'],
      ['update', 'failure', 'ada'],
      ['update', 'success', 'ada']
    ])
  })

  test('a change that cannot be audited does not happen', async t => {
    const app = await instance(t, await freshDatabase(t))
    await app.db.execute(sql`alter table audit_logs add constraint closed check (action <> 'close')`)
    assert.equal((await change(app, { enabled: true })).statusCode, 500)
    assert.equal(await statusOf(app), 200)
    assert.deepEqual(await app.maintenance.refresh(), OPEN)
  })

  test('the configured end reopens all instances, and is recorded once', async t => {
    const url = await freshDatabase(t)
    const often = { pollInterval: 50 }
    const apps = [await instance(t, url, often), await instance(t, url, often), await instance(t, url, often)]
    const [app] = apps as [FastifyInstance]
    await change(app, { enabled: true, until: soon(3_600_000) })
    for (const each of apps) await eventually(async () => (await statusOf(each)) === 503)
    letPass(t, 3_600_001)
    for (const each of apps) await eventually(async () => (await statusOf(each)) === 200)
    await eventually(async () => (await auditOf(app)).length > 1)
    await stays(async () => (await auditOf(app)).length === 2, 100)
    assert.deepEqual(await auditOf(app), [
      ['close', 'success', 'ada'],
      ['reopen', 'success', 'maintenance schedule']
    ])
    assert.deepEqual(await app.maintenance.refresh(), { ...OPEN, by: 'maintenance schedule' })
  })

  test('an end that passed while no instance ran is recorded by the next one', async t => {
    const url = await freshDatabase(t)
    const first = await instance(t, url)
    await change(first, { enabled: true, until: soon(3_600_000) })
    await first.close()
    letPass(t, 3_600_001)
    const second = await instance(t, url)
    assert.equal(await statusOf(second), 200)
    await eventually(async () => (await auditOf(second)).length === 2)
  })

  test('changes during a lost connection are applied afterwards', async t => {
    const url = await freshDatabase(t)
    const [a, b] = [await instance(t, url), await instance(t, url)]
    await terminateBackends(url)
    await eventually(async () => (await change(a, { enabled: true })).statusCode === 200)
    await eventually(async () => (await statusOf(b)) === 503)
  })

  test('while the database is unreachable, the last known state applies, and nothing can be changed', async t => {
    const url = await freshDatabase(t)
    const name = new URL(url).pathname.slice(1)
    const app = await instance(t, url, { retryInterval: 50, pollInterval: 50 })
    await change(app, { enabled: true })
    await withCluster(cluster => cluster`alter database ${cluster(name)} allow_connections false`)
    await terminateBackends(url)
    await stays(async () => (await statusOf(app)) === 503, 200)
    assert.equal(await statusOf(app, '/admin/maintenance'), 200)
    assert.ok((await change(app, { enabled: false })).statusCode >= 500)
    assert.equal(await statusOf(app), 503)

    await withCluster(cluster => cluster`alter database ${cluster(name)} allow_connections true`)
    await eventually(async () => (await change(app, { enabled: false })).statusCode === 200)
    assert.equal(await statusOf(app), 200)
  })

  test('a start without the database is open, and reads the state once it is available', async t => {
    const url = await freshDatabase(t)
    const name = new URL(url).pathname.slice(1)
    const first = await instance(t, url)
    await change(first, { enabled: true })
    await first.close()
    await withCluster(cluster => cluster`alter database ${cluster(name)} allow_connections false`)
    const second = await instance(t, url, { retryInterval: 50 })
    assert.equal(await statusOf(second), 200)
    await withCluster(cluster => cluster`alter database ${cluster(name)} allow_connections true`)
    await eventually(async () => (await statusOf(second)) === 503)
  })

  test('a change completes when its sender disconnects', async t => {
    const url = await freshDatabase(t)
    const app = await instance(t, url)
    await app.listen({ port: 0, host: '127.0.0.1' })
    const socket = connect((app.server.address() as { port: number }).port, '127.0.0.1')
    const [[accepted]] = await Promise.all([once(app.server, 'connection'), once(socket, 'connect')])
    const body = JSON.stringify({ enabled: true })
    const head = `POST /admin/maintenance HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}`
    const row = app.db.transaction(async tx => {
      await tx.execute(sql`insert into maintenance_state (id) values (1) on conflict do nothing`)
      await tx.execute(sql`select 1 from maintenance_state where id = 1 for update`)
      socket.write(`${head}\r\n\r\n${body}`)
      await eventually(() => isWaitingForLock(app.db))
      const hungUp = new Promise(resolve => accepted.once('close', resolve)) // after the error of the reset
      socket.resetAndDestroy()
      await hungUp
    })
    await row
    await eventually(async () => (await statusOf(app)) === 503)
    assert.deepEqual(await auditOf(app), [['close', 'success', 'ada']])
  })
})
