import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { sql } from 'drizzle-orm'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import audit, { auditDdl } from '../plugins/audit/index.ts'
import { postgresAuditSink } from '../plugins/audit/sink-postgres.ts'
import database from '../plugins/database/index.ts'
import idempotency, { idempotencyDdl } from '../plugins/idempotency/index.ts'
import maintenance, { maintenanceDdl } from '../plugins/maintenance/index.ts'
import { postgresMaintenanceStore } from '../plugins/maintenance/store-postgres.ts'
import session, { sessionDdl } from '../plugins/session/index.ts'
import { postgresSessionStore } from '../plugins/session/store-postgres.ts'
import { emptyDatabase, freshDatabase } from './support/database.ts'

/** An app with an unmigrated database, like an app that uses a few plugins. */
async function appWith(t: TestContext, ddl: string): Promise<FastifyInstance> {
  const app = await appOver(t, await emptyDatabase(t))
  // Twice, as at every start of an app without migrations.
  for (let start = 1; start <= 2; start++) await app.postgres.script(ddl)
  return app
}

async function appOver(t: TestContext, url: string): Promise<FastifyInstance> {
  const app: FastifyInstance = Fastify()
  t.after(() => app.close())
  await app.register(database, { url })
  return app
}

/** The definition of a table: columns, constraints, indexes. */
async function describe(app: FastifyInstance, table: string): Promise<unknown> {
  const columns = await app.db.execute(sql`
    select column_name, data_type, character_maximum_length, is_nullable, column_default
    from information_schema.columns where table_name = ${table} order by column_name`)
  const constraints = await app.db.execute(sql`
    select pg_get_constraintdef(oid) as definition from pg_constraint
    where conrelid = ${table}::regclass and contype in ('p', 'u', 'c') order by 1`)
  const indexes = await app.db.execute(sql`
    select indexdef as definition from pg_indexes
    where tablename = ${table} order by 1`)
  return { columns: [...columns], constraints: [...constraints], indexes: [...indexes] }
}

for (const [table, ddl] of [
  ['idempotency_keys', idempotencyDdl],
  ['maintenance_state', maintenanceDdl]
] as const)
  test(`the table ${table} of a plugin equals the one of the migrations`, async t => {
    const shipped = await describe(await appWith(t, ddl), table)
    const migrated = await describe(await appOver(t, await freshDatabase(t)), table)
    assert.deepEqual(shipped, migrated)
  })

test('idempotency runs a repeated request once, with its own table', async t => {
  const app = await appWith(t, idempotencyDdl)
  await app.register(idempotency, { owner: request => String(request.headers['x-user']) })
  let works = 0
  app.post('/orders', (request, reply) =>
    app.db
      .transaction(tx => app.idempotency.run(tx, request, async () => ({ status: 201, body: { order: ++works } })))
      .then(({ status, headers = {}, body }) => reply.code(status).headers(headers).send(body))
  )
  const order = (user: string) =>
    app.inject({ method: 'POST', url: '/orders', headers: { 'idempotency-key': 'k', 'x-user': user } })

  const replies = [await order('ada'), await order('ada'), await order('bob')]
  assert.deepEqual(
    replies.map(reply => [reply.statusCode, reply.json().order, reply.headers['idempotent-replayed']]),
    [
      [201, 1, undefined],
      [201, 1, 'true'],
      [201, 2, undefined]
    ]
  )
})

test('maintenance keeps its state in its own table', async t => {
  const first = await appWith(t, maintenanceDdl)
  await first.register(maintenance, { store: postgresMaintenanceStore(first) })
  await first.ready()
  await first.maintenance.set({ enabled: true, message: 'New disks' }, 'ada')

  const stored = await first.db.execute<{ message: string }>(sql`select message from maintenance_state`)
  assert.deepEqual([...stored], [{ message: 'New disks' }])
  const found = await postgresMaintenanceStore(first).load()
  assert.deepEqual([found.enabled, found.by], [true, 'ada'])
})

test('audit writes changes in their transaction and refusals in the background, with its own table', async t => {
  const url = await emptyDatabase(t)
  const app = await appOver(t, url)
  await app.postgres.script(auditDdl)
  await app.register(audit, { sink: postgresAuditSink(app), details: { 'invoice.create': ['total', 'dueAt'] } })
  const event = { type: 'billing', action: 'create', resource: 'invoice' } as const
  const record = async (request: FastifyRequest, resourceId: string, mayCommit: boolean) =>
    app.db.transaction(async tx => {
      const details = { total: 12, dueAt: new Date('2030-01-02T03:04:05Z'), card: '4242' }
      await app.audit.record(tx, request, { ...event, resourceId, details })
      if (!mayCommit) throw new Error('taken back')
    })
  app.post('/invoices', async request => {
    await record(request, 'i1', true)
    await record(request, 'never', false).catch(() => {})
    return {}
  })
  app.delete('/invoices/:invoice', { config: { audit: { ...event, action: 'delete' } } }, (_request, reply) =>
    reply.code(403).send()
  )
  const created = await app.inject({ method: 'POST', url: '/invoices', headers: { 'user-agent': 'curl' } })
  assert.equal(created.statusCode, 200, created.body)
  await app.inject({ method: 'DELETE', url: '/invoices/i2' })
  await app.audit.recordSystem(null, { ...event, actor: 'scheduler', resourceId: "i'3" })
  await app.close()

  const reader = await appOver(t, url)
  const rows = await reader.db.execute(sql`
    select action, outcome, actor, resource_id as id, details, user_agent as agent from audit_logs
    where created_at > now() - interval '1 minute' order by resource_id`)
  assert.deepEqual(
    [...rows],
    [
      { action: 'create', outcome: 'success', actor: 'scheduler', id: "i'3", details: null, agent: null },
      {
        action: 'create',
        outcome: 'success',
        actor: null,
        id: 'i1',
        details: { total: 12, dueAt: '2030-01-02T03:04:05.000Z' },
        agent: 'curl'
      },
      { action: 'delete', outcome: 'denied', actor: null, id: 'i2', details: null, agent: 'lightMyRequest' }
    ]
  )
})

test('audit writes a retried batch once', async t => {
  const app = await appWith(t, auditDdl)
  const sink = postgresAuditSink(app)
  const row = { eventType: 'auth', action: 'login', outcome: 'denied', resource: 'session' } as const
  const nothing = { teamId: null, appId: null, resourceId: null, resourceName: null, details: null }
  const rows = [1, 2].map(() => ({ ...row, ...nothing, id: randomUUID(), createdAt: new Date() }))
  await sink.writeMany(rows)
  await sink.writeMany(rows)
  assert.deepEqual([...(await app.db.execute(sql`select count(*)::int as rows from audit_logs`))], [{ rows: 2 }])
})

test('session recognizes a browser until sign-out, idle timeout or expiry, with its own table', async t => {
  const app = await appWith(t, sessionDdl)
  await app.register(session, { store: postgresSessionStore(app), secure: false, ttl: 0 })
  const ada = { id: 'u1', username: 'ada', isOperator: true }
  app.post('/login', async (request, reply) => {
    const { id, cookie } = await app.session.begin(null, request, ada, 'password')
    return reply.header('set-cookie', cookie).send({ id })
  })
  app.post('/logout', async request => ({ id: (await app.session.end(null, request)).id }))
  app.get('/me', async request => ({ principal: (await app.session.identify(request)) ?? null }))

  const signedIn = await app.inject({ method: 'POST', url: '/login', headers: { 'user-agent': 'a\0b' } })
  const cookie = String(signedIn.headers['set-cookie']).split(';')[0]!
  const me = async () => (await app.inject({ url: '/me', headers: { cookie } })).json().principal
  const { credentialId, userId, username, isOperator, via } = await me()
  assert.deepEqual(
    [credentialId, userId, username, isOperator, via],
    [signedIn.json().id, 'u1', 'ada', true, 'session']
  )

  await app.db.execute(
    sql`update sessions set last_seen_at = now() - interval '1 hour', idle_until = now() + interval '1 s'`
  )
  await me()
  const [{ used }] = (await app.db.execute<{ used: boolean }>(
    sql`select idle_until > now() + interval '1 day' and last_seen_at > now() - interval '1 minute' as used from sessions`
  )) as unknown as [{ used: boolean }]
  assert.ok(used, 'a session in use is idle later')

  await app.db.execute(sql`update sessions set idle_until = now()`)
  assert.equal(await me(), null, 'idle')
  await app.db.execute(sql`update sessions set idle_until = now() + interval '1 day', expires_at = now()`)
  assert.equal(await me(), null, 'over')
  await app.inject({ method: 'POST', url: '/login' })
  assert.deepEqual(
    [...(await app.db.execute(sql`select count(*)::int as rows from sessions`))],
    [{ rows: 1 }],
    'purged'
  )

  await app.db.execute(sql`update sessions set secret_hash = sha256(${cookie.split('=')[1]!}::bytea)`)
  assert.equal((await me()).username, 'ada')
  const left = await app.inject({ method: 'POST', url: '/logout', headers: { cookie } })
  assert.ok(left.json().id)
  assert.equal(await me(), null, 'left')
})
