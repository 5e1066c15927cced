import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, mock, test } from 'node:test'
import { and, eq, sql } from 'drizzle-orm'
import { apps, auditLogs } from '../../drizzle/schema.ts'
import { eventually } from '../support/eventually.ts'
import { errorOf, platform } from './support.ts'

const server = await platform({ after })
const { team, owner, admin, member, stranger } = await server.addPeople()

test("POST with a name alone works at once, with the first operator's token", async () => {
  const response = await server.operator.call('POST', '/api/v1/apps', { name: 'hello' })
  assert.equal(response.statusCode, 201)
  const app = response.json()
  assert.equal(app.slug, 'hello')
  assert.equal(response.headers.location, `/api/v1/apps/${app.id}`)
  assert.match(String(response.headers.etag), /^"[^"]+"$/)
  assert.deepEqual(Object.keys(app), [
    'id',
    'teamId',
    'name',
    'slug',
    'url',
    'githubRepo',
    'gitUrl',
    'rootDirectory',
    'healthPath',
    'healthGrace',
    'port',
    'githubBranch',
    'region',
    'autoDeploy',
    'version',
    'createdAt',
    'updatedAt'
  ])
  assert.deepEqual((await server.operator.call('GET', String(response.headers.location))).json(), app)
  assert.deepEqual((await server.operator.call('GET', '/api/v1/apps/hello')).json(), app)
})

test('POST accepts all settings, and a team by UUID or slug', async () => {
  const settings = {
    name: 'Full',
    githubRepo: 'acme/web.site',
    githubBranch: 'release/1.0',
    region: 'fra',
    autoDeploy: false
  }
  for (const [slug, key] of [
    ['full-one', team.id],
    ['full-two', team.slug]
  ]) {
    const response = await member.call('POST', '/api/v1/apps', { ...settings, slug, team: key })
    assert.equal(response.statusCode, 201, response.body)
    const { id, version, createdAt, updatedAt, ...app } = response.json()
    assert.deepEqual(app, {
      ...settings,
      slug,
      teamId: team.id,
      url: `http://${slug}.localhost:8090/`,
      gitUrl: null,
      rootDirectory: null,
      healthPath: null,
      healthGrace: null,
      port: null
    })
  }
})

test('the health check and the port of an app are settings, and wrong ones are refused with an explanation', async () => {
  const { id } = (await admin.call('POST', '/api/v1/apps', { name: 'checked' })).json()
  const url = `/api/v1/apps/${id}`
  const settings = { healthPath: '/up?deep=1', healthGrace: 120, port: 3000 }
  const changed = (await admin.call('PATCH', url, settings)).json()
  assert.deepEqual({ ...changed, ...settings }, changed)
  for (const [wrong, sentence] of [
    [{ healthPath: 'up' }, /healthPath.*begins with one slash/],
    [{ healthPath: '//evil.example/' }, /healthPath.*begins with one slash/],
    [{ healthPath: '/a b' }, /healthPath.*without blanks/],
    [{ healthGrace: 301 }, /healthGrace.*300/],
    [{ port: 0 }, /port.*1/]
  ] as const) {
    const reply = await admin.call('PATCH', url, wrong)
    assert.equal(reply.statusCode, 400)
    assert.match(JSON.stringify(reply.json().error), sentence)
  }
  const reset = (await admin.call('PUT', url, { name: 'checked' })).json()
  assert.deepEqual([reset.healthPath, reset.healthGrace, reset.port], [null, null, null])
})

test('every role may create and see apps; only admins and owners change and delete them', async () => {
  for (const caller of [member, admin, owner]) {
    const { id } = (await member.call('POST', '/api/v1/apps', { name: 'by role' })).json()
    const url = `/api/v1/apps/${id}`
    const isMember = caller === member
    assert.equal((await caller.call('GET', url)).statusCode, 200)
    assert.equal((await caller.call('PUT', url, { name: 'replaced' })).statusCode, isMember ? 403 : 200)
    assert.equal((await caller.call('PATCH', url, { name: 'changed' })).statusCode, isMember ? 403 : 200)
    assert.equal((await caller.call('DELETE', url)).statusCode, isMember ? 403 : 204)
    assert.equal((await caller.call('GET', url)).statusCode, isMember ? 200 : 404)
  }
})

test('apps of other teams are not found, by any name or method', async () => {
  const { id, slug } = (await owner.call('POST', '/api/v1/apps', { name: 'private' })).json()
  for (const key of [id, slug, randomUUID(), 'nothing-here', '%00', "'%20or%201=1"])
    for (const [method, body] of [['GET'], ['PUT', { name: 'x' }], ['PATCH', { name: 'x' }], ['DELETE']] as const) {
      const response = await stranger.call(method, `/api/v1/apps/${key}`, body)
      assert.deepEqual(errorOf(response), { status: 404, code: 'NOT_FOUND' }, `${method} ${key}`)
    }
  assert.deepEqual((await stranger.call('GET', '/api/v1/apps')).json(), { items: [], nextCursor: null })
  assert.equal((await stranger.call('GET', `/api/v1/apps?team=${team.id}`)).statusCode, 404)
  assert.equal((await stranger.call('POST', '/api/v1/apps', { name: 'x', team: team.id })).statusCode, 404)
})

test('PUT replaces everything, PATCH only what it names', async () => {
  const settings = { githubRepo: 'acme/web', githubBranch: 'next', region: 'lhr', autoDeploy: false }
  const created = (await owner.call('POST', '/api/v1/apps', { name: 'settings', ...settings })).json()
  const url = `/api/v1/apps/${created.id}`

  const patched = (await owner.call('PATCH', url, { name: 'renamed' })).json()
  assert.deepEqual(patched, { ...created, name: 'renamed', version: 2, updatedAt: patched.updatedAt })
  const cleared = (await owner.call('PATCH', url, { githubRepo: null })).json()
  assert.deepEqual([cleared.githubRepo, cleared.githubBranch, cleared.version], [null, 'next', 3])

  const replaced = (await owner.call('PUT', url, { name: 'again' })).json()
  const defaults = { githubRepo: null, githubBranch: 'main', region: 'iad', autoDeploy: true }
  assert.deepEqual(replaced, { ...created, ...defaults, name: 'again', version: 4, updatedAt: replaced.updatedAt })
})

test('PATCH records the same with and without a key, which takes a transaction', async () => {
  const rows = async (id: string) => {
    const found = await server.app.db.select().from(auditLogs).where(eq(auditLogs.appId, id))
    const [row] = found.filter(({ action }) => action === 'update')
    const { id: _, createdAt, mac, requestId, ...facts } = row!
    return { ...facts, appId: null, resourceId: null }
  }
  const replies: unknown[] = []
  const records: unknown[] = []
  for (const key of [undefined, randomUUID()]) {
    const created = (await owner.call('POST', '/api/v1/apps', { name: 'twin', slug: `twin-${replies.length}` })).json()
    const url = `/api/v1/apps/${created.slug}`
    const wanted = { name: '  Zoë’s ', gitUrl: 'https://example.com/zoe.git', port: 8080, healthPath: '/up' }
    const reply = await owner.call('PATCH', url, wanted, key === undefined ? {} : { 'idempotency-key': key })
    assert.equal(reply.statusCode, 200, reply.body)
    const { id, slug, url: _, updatedAt, createdAt, ...app } = reply.json()
    assert.ok(updatedAt > createdAt)
    replies.push(app)
    const record = await rows(id)
    records.push({ ...record, details: { ...record.details, slug: '' } })
  }
  assert.deepEqual(replies[0], replies[1])
  assert.deepEqual(records[0], records[1])
  assert.match(JSON.stringify(records[0]), /"name":"Zoë’s".*"changed":\["name","gitUrl","port","healthPath"\]/)
})

test('PATCH takes no transaction; changes of one app at the same time are all made, each with its version', async () => {
  const { id } = (await owner.call('POST', '/api/v1/apps', { name: 'busy' })).json()
  const url = `/api/v1/apps/${id}`
  const transaction = mock.method(server.app.db, 'transaction')
  assert.equal((await owner.call('PATCH', url, { port: 1 })).statusCode, 200)
  assert.equal(transaction.mock.callCount(), 0)
  await owner.call('PATCH', url, { port: 1 }, { 'idempotency-key': randomUUID() })
  assert.equal(transaction.mock.callCount(), 1)
  transaction.mock.restore()

  const replies = await Promise.all(
    Array.from({ length: 10 }, (_, n) => (n % 2 ? owner : admin).call('PATCH', url, { port: n + 2 }))
  )
  assert.deepEqual(
    replies.map(reply => reply.json().version).sort((a, b) => a - b),
    Array.from({ length: 10 }, (_, n) => n + 4)
  )
  const rows = await server.app.db
    .select()
    .from(auditLogs)
    .where(and(eq(auditLogs.appId, id), eq(auditLogs.action, 'update')))
  const recorded = rows
    .filter(({ outcome }) => outcome === 'success')
    .map(({ details }) => [details!.version, details!.port])
  for (const reply of replies) {
    const { version, port } = reply.json()
    assert.ok(recorded.some(([v, p]) => v === version && p === port))
  }
  assert.equal(recorded.length, 12)
})

test('PATCH fails, changes nothing and is counted if the audit log refuses its row', async () => {
  const { db } = server.app
  const { id } = (await owner.call('POST', '/api/v1/apps', { name: 'unaudited' })).json()
  const failures = async () => {
    const { body } = await server.app.inject({ url: '/metrics', remoteAddress: '127.0.0.1' })
    return Number(/^rhone_audit_write_failures_total (\d+)$/m.exec(body)?.[1])
  }
  const before = await failures()
  await db.execute(sql`alter table audit_logs add constraint refuses check (resource_name <> 'refused') not valid`)
  const reply = await owner.call('PATCH', `/api/v1/apps/${id}`, { name: 'refused' })
  await db.execute(sql`alter table audit_logs drop constraint refuses`)
  assert.equal(reply.statusCode, 500)
  // A scrape is cached for a moment.
  await eventually(failures, count => count === before + 1)
  assert.equal((await owner.call('GET', `/api/v1/apps/${id}`)).json().name, 'unaudited')
})

test('a change is accepted with the ETag of the latest version or a star, but not with an older one', async () => {
  const created = await owner.call('POST', '/api/v1/apps', { name: 'guarded' })
  const url = String(created.headers.location)
  const first = String(created.headers.etag)
  const changed = await owner.call('PATCH', url, { name: 'one' }, { 'if-match': first })
  assert.equal(changed.statusCode, 200)
  assert.notEqual(changed.headers.etag, first)

  for (const [method, body] of [['PUT', { name: 'x' }], ['PATCH', { name: 'x' }], ['DELETE']] as const)
    for (const tag of [first, '"invented"', `W/${changed.headers.etag}`])
      assert.deepEqual(errorOf(await owner.call(method, url, body, { 'if-match': tag })), {
        status: 412,
        code: 'PRECONDITION_FAILED'
      })
  for (const tag of ['unquoted', '"open', '', '*, "x"', '"a" "b"'])
    assert.equal((await owner.call('PATCH', url, { name: 'x' }, { 'if-match': tag })).statusCode, 400, tag)
  assert.equal((await owner.call('GET', url)).json().name, 'one')

  assert.equal((await owner.call('PATCH', url, { name: 'two' }, { 'if-match': '*' })).statusCode, 200)
  const latest = String((await owner.call('GET', url)).headers.etag)
  assert.equal((await owner.call('DELETE', url, undefined, { 'if-match': latest })).statusCode, 204)
})

test('a client that has the latest version gets 304', async () => {
  const { headers } = await owner.call('POST', '/api/v1/apps', { name: 'cached' })
  const [url, tag] = [String(headers.location), String(headers.etag)]
  const fresh = await owner.call('GET', url, undefined, { 'if-none-match': tag })
  assert.deepEqual([fresh.statusCode, fresh.body, fresh.headers.etag], [304, '', tag])
  await owner.call('PATCH', url, { name: 'changed' })
  assert.equal((await owner.call('GET', url, undefined, { 'if-none-match': tag })).statusCode, 200)
})

test('of concurrent requests for one slug exactly one gets 201, the others 409', async () => {
  const responses = await Promise.all(
    Array.from({ length: 12 }, (_, i) =>
      [owner, stranger][i % 2]!.call('POST', '/api/v1/apps', { name: 'x', slug: 'contested' })
    )
  )
  const statuses = responses.map(response => response.statusCode).toSorted()
  assert.deepEqual(statuses, [201, ...Array(11).fill(409)])
  for (const response of responses) if (response.statusCode === 409) assert.equal(errorOf(response).code, 'CONFLICT')
})

test('a repeated Idempotency-Key repeats the reply without a second app; with another body it is refused', async () => {
  const key = { 'idempotency-key': randomUUID() }
  const first = await owner.call('POST', '/api/v1/apps', { name: 'once only' }, key)
  const second = await owner.call('POST', '/api/v1/apps', { name: 'once only' }, key)
  assert.deepEqual([second.statusCode, second.json()], [201, first.json()])
  assert.equal(second.headers.location, first.headers.location)
  assert.equal(second.headers.etag, first.headers.etag)
  assert.equal(second.headers['idempotent-replayed'], 'true')
  const other = await owner.call('POST', '/api/v1/apps', { name: 'something else' }, key)
  assert.deepEqual(errorOf(other), { status: 422, code: 'IDEMPOTENCY_MISMATCH' })
  const stored = await server.app.db.select().from(apps)
  assert.equal(stored.filter(app => app.name === 'once only').length, 1)
  assert.equal(stored.filter(app => app.name === 'something else').length, 0)

  const url = String(first.headers.location)
  const remove = { 'idempotency-key': randomUUID() }
  for (const _ of [1, 2]) {
    const removed = await owner.call('DELETE', url, undefined, remove)
    assert.deepEqual([removed.statusCode, removed.body], [204, ''])
  }
})

test('lists newest first, with at most the limit per page', async () => {
  const { owner, team } = await server.addPeople()
  for (let i = 0; i < 7; i++) await owner.call('POST', '/api/v1/apps', { name: `page ${i}` })
  const names: string[] = []
  let url = '/api/v1/apps?limit=3'
  for (const size of [3, 3, 1]) {
    const page = (await owner.call('GET', url)).json()
    assert.equal(page.items.length, size)
    names.push(...page.items.map((app: { name: string }) => app.name))
    url = `/api/v1/apps?limit=3&team=${team.slug}&cursor=${page.nextCursor}`
  }
  assert.deepEqual(
    names,
    [6, 5, 4, 3, 2, 1, 0].map(i => `page ${i}`)
  )
})

test('a failed creation of an app is in the audit log of its intended team', async () => {
  const { team, owner } = await server.addPeople()
  for (const body of [
    { name: 'x', region: 'xxx' },
    { name: 'x', region: 'xxx', team: team.slug }
  ])
    assert.equal((await owner.call('POST', '/api/v1/apps', body)).statusCode, 400)
  const query = server.app.db
    .select()
    .from(auditLogs)
    .where(and(eq(auditLogs.teamId, team.id), eq(auditLogs.action, 'create'), eq(auditLogs.outcome, 'failure')))
  const rows = await eventually(
    () => query.execute(),
    rows => rows.length >= 2
  )
  assert.deepEqual(
    rows.map(row => row.userId),
    [owner.id, owner.id]
  )
})

test('each change, even a refused one, adds one row with the team to the audit log', async () => {
  const created = (await owner.call('POST', '/api/v1/apps', { name: 'audited' })).json()
  const url = `/api/v1/apps/${created.id}`
  await admin.call('PATCH', url, { autoDeploy: false })
  await member.call('DELETE', url)
  await admin.call('DELETE', url)

  const query = server.app.db.select().from(auditLogs).where(eq(auditLogs.appId, created.id))
  const rows = await eventually(
    () => query.execute(),
    rows => rows.length >= 4
  )
  const told = rows.map(({ userId, action, outcome }) => [userId, action, outcome])
  assert.deepEqual(
    new Set(told.map(String)),
    new Set(
      [
        [owner.id, 'create', 'success'],
        [admin.id, 'update', 'success'],
        [member.id, 'delete', 'denied'],
        [admin.id, 'delete', 'success']
      ].map(String)
    )
  )
  for (const row of rows) {
    assert.deepEqual(
      [row.eventType, row.resource, row.resourceId, row.resourceName, row.teamId],
      ['app', 'app', created.id, 'audited', team.id]
    )
  }
  const update = rows.find(row => row.action === 'update')
  assert.deepEqual(update?.details?.changed, ['autoDeploy'])
})
