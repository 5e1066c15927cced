import assert from 'node:assert/strict'
import { resolve } from 'node:path'
import { after, before, suite, test } from 'node:test'
import fp from 'fastify-plugin'
import type { Db } from '../../drizzle/schema.ts'
import tinyLimiter from '../../examples/tiny-limiter.ts'
import audit, { type AuditDeps, type AuditRow } from '../../plugins/audit/index.ts'
import { buildApp } from '../../src/app.ts'
import { listAudit } from '../../src/domain/audit/events.ts'
import { type PluginModule, slots } from '../../src/slots.ts'
import { auditLog } from '../domain/support.ts'
import { testApp, testConfig } from '../support/app.ts'
import { freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'

const TINY_LIMITER = resolve(import.meta.dirname, '../../examples/tiny-limiter.ts')

async function pings(as: Awaited<ReturnType<typeof testApp>>['as'], count: number) {
  return Promise.all(Array.from({ length: count }, () => as(null, 'GET', '/api/v1/ping')))
}

test('a limiter of ten lines replaces ours, from an environment variable', async t => {
  t.mock.timers.enable({ apis: ['setInterval'] }) // or its second may be over in the middle of the requests
  const { app, as } = await testApp(t, { RHONE_SWAP: `rate-limit=${TINY_LIMITER}` })
  const replies = await pings(as, 25)

  assert.equal(replies.filter(({ statusCode }) => statusCode === 200).length, 20)
  const refused = replies.find(({ statusCode }) => statusCode === 429)!
  assert.equal(refused.headers['retry-after'], '1')
  assert.equal(refused.json().error.code, 'RATE_LIMIT')
  assert.equal(refused.headers['x-content-type-options'], 'nosniff')
  assert.ok(app.hasPlugin('tiny-limiter'))
})

test('the same limiter replaces ours, from a program', async t => {
  t.mock.timers.enable({ apis: ['setInterval'] })
  const { as } = await testApp(t, {}, { 'rate-limit': tinyLimiter })
  const statuses = (await pings(as, 25)).map(({ statusCode }) => statusCode)
  assert.equal(statuses.filter(status => status === 429).length, 5)
})

test('a swap of the program takes precedence over the environment', async t => {
  const greeter = fp(async app => {
    app.addHook('onSend', (_request, reply, payload, done) => {
      reply.header('x-greeting', 'hello')
      done(null, payload)
    })
  })
  const { as } = await testApp(t, { RHONE_SWAP: 'cors=off' }, { cors: greeter })
  assert.equal((await as(null, 'GET', '/api/v1/ping')).headers['x-greeting'], 'hello')
})

test('an audit sink with several statements writes them in the transaction of the change, even as its last', async t => {
  const twice = fp<AuditDeps>(async (app, { sink: _, ...options }) => {
    const write = async (tx: Db, row: AuditRow) => {
      await auditLog.write(tx, row)
      await auditLog.write(tx, { ...row, resourceName: 'second copy' })
    }
    await app.register(audit, { ...options, sink: { write, writeMany: rows => auditLog.writeMany(app.db, rows) } })
  })
  const { app, as, token } = await testApp(t, {}, { audit: twice as PluginModule })
  const reply = await as(token, 'POST', '/api/v1/apps', { name: 'hello' })
  assert.equal(reply.statusCode, 201)
  const { items } = await listAudit(app.db, { resource: 'app', action: 'create' }, {})
  assert.equal(items.length, 2)
})

test('turning a plugin off does not affect the rest of the server', async t => {
  const { app, as } = await testApp(t, { RHONE_SWAP: 'rate-limit=off,rate-limit-user=off,cors=off' })
  const replies = await pings(as, 250)
  assert.ok(replies.every(({ statusCode }) => statusCode === 200))
  assert.equal(replies[0]!.headers.ratelimit, undefined)
  assert.equal(app.hasPlugin('rhone-cors'), false)
})

test('a swap of an unknown slot fails the boot and names the slots', async t => {
  await assert.rejects(testApp(t, {}, { limits: false }), /there is no slot "limits"; the slots are .*rate-limit/)
})

test('without any shortcut the server answers the same', async t => {
  const replies = await Promise.all(
    ['', 'heads,batching,sockets,queries,imports'].map(async off => {
      const { app, token } = await testApp(t, { RHONE_SHORTCUTS_OFF: off })
      const url = await app.listen({ host: '127.0.0.1', port: 0 })
      const reply = await fetch(`${url}/api/v1/regions`, { headers: { authorization: `Bearer ${token}` } })
      const { date, 'x-request-id': id, ...headers } = Object.fromEntries(reply.headers)
      assert.ok(date && id)
      return { status: reply.status, headers, body: await reply.json() }
    })
  )
  assert.deepEqual(replies[0], replies[1])
  assert.equal(replies[0]!.status, 200)
})

suite('a server without one of its slots', () => {
  let shared: string
  before(async () => {
    shared = await freshDatabase({ after })
  })

  for (const { name } of slots.filter(slot => slot.name !== 'routes'))
    test(`without ${name} it boots, answers, and exposes nothing that was closed`, async t => {
      const config = await testConfig(t, { DATABASE_URL: shared })
      const app = await buildApp(config, { [name]: false })
      t.after(() => app.close())
      await app.ready()
      await app.startup?.completed
      // On a busy machine, the first requests may be shed.
      await eventually(async () => (await app.inject('/api/v1/ping')).json().pong === true)
      for (const url of ['/api/v1/apps', '/admin/stats', '/admin/maintenance']) {
        const { statusCode } = await app.inject(url)
        assert.ok(statusCode >= 400, `${url} answers ${statusCode}`)
      }
    })
})
