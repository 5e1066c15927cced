import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import { sql } from 'drizzle-orm'
import { eventually } from '../support/eventually.ts'
import { errorOf, platform } from './support.ts'

const server = await platform({ after })
const { owner, member } = await server.addPeople()

test('GET /admin/stats has the figures of the platform, for operators only', async () => {
  await owner.call('POST', '/api/v1/apps', { name: 'counted' })
  const response = await server.operator.call('GET', '/admin/stats')
  assert.equal(response.statusCode, 200)
  const stats = response.json()
  assert.deepEqual(stats.totals, { users: 5, teams: 3, apps: 1, deployments: 0 })
  assert.deepEqual([stats.activeBuilds, stats.recentErrors], [0, []])
  assert.deepEqual(Object.keys(stats.topApps[0]), ['appId', 'appName', 'teamName', 'machineHours', 'deployments'])
  assert.match(stats.billingPeriod, /^\d{4}-\d{2}-01$/)

  for (const caller of [owner, member])
    for (const url of ['/admin/stats', '/admin/audit'])
      assert.equal(errorOf(await caller.call('GET', url)).code, 'FORBIDDEN')
})

test('GET /admin/audit filters events, page by page', async () => {
  const { id } = (await owner.call('POST', '/api/v1/apps', { name: 'followed' })).json()
  for (let i = 0; i < 4; i++) await owner.call('PATCH', `/api/v1/apps/${id}`, { name: `name ${i}` })
  const read = async (query: string) => {
    const response = await server.operator.call('GET', `/admin/audit?${query}`)
    assert.equal(response.statusCode, 200, response.body)
    return response.json()
  }

  const all = await read(`appId=${id}`)
  assert.deepEqual(
    all.items.map((row: { action: string }) => row.action),
    ['update', 'update', 'update', 'update', 'create']
  )
  assert.deepEqual(all.items[0].details.changed, ['name'])
  assert.deepEqual([all.items[0].actor, all.items[0].resource], [all.items[4].actor, 'app'])
  assert.equal((await read(`appId=${id}&action=create&outcome=success&type=app&userId=${owner.id}`)).items.length, 1)
  assert.equal((await read(`appId=${id}&action=delete`)).items.length, 0)
  const { createdAt } = all.items[2]
  assert.equal((await read(`appId=${id}&since=${encodeURIComponent('2000-01-01T00:00:00+02:00')}`)).items.length, 5)
  assert.equal((await read(`appId=${id}&until=2000-01-01T00:00:00Z`)).items.length, 0)
  assert.ok((await read(`appId=${id}&since=${createdAt}`)).items.length >= 3)

  const first = await read(`appId=${id}&limit=3`)
  const second = await read(`appId=${id}&limit=3&cursor=${first.nextCursor}`)
  assert.deepEqual([...first.items, ...second.items], all.items)
  assert.equal(second.nextCursor, null)
})

test('GET /admin/audit refuses invalid filters', async () => {
  const queries = [
    'type=none',
    'outcome=maybe',
    'userId=me',
    'since=yesterday',
    'since=2099-12-31T23:59:60Z',
    'since=0000-01-01T00:00:00Z',
    'until=9999-12-31T23:59:59-14:00',
    'limit=0',
    'limit=201',
    'limit=x',
    'nothing=1',
    'cursor=garbage',
    'cursor=%00'
  ]
  for (const query of queries)
    assert.equal(errorOf(await server.operator.call('GET', `/admin/audit?${query}`)).code, 'VALIDATION_ERROR', query)
})

test('GET /admin/errors lists errors for operators, and refuses invalid filters', async t => {
  const broken = await platform(t)
  const list = async (query = '') => {
    const response = await broken.operator.call('GET', `/admin/errors${query}`)
    assert.equal(response.statusCode, 200, response.body)
    return response.json().items
  }
  assert.deepEqual(await list(), [])
  await broken.app.db.execute(sql`alter table usage_records rename to away`)
  const failed = await broken.operator.call('GET', '/admin/stats')
  const [found] = await eventually(
    () => list('?code=INTERNAL_ERROR'),
    items => items.length > 0
  )
  assert.deepEqual(
    [found.route, found.count, found.lastRequestId],
    ['GET /admin/stats', 1, failed.json().error.requestId]
  )
  for (const query of ['code=x', 'since=yesterday', 'nothing=1', 'cursor=garbage', 'cursor=MS5YLiUwMA', 'limit=0'])
    assert.equal(errorOf(await broken.operator.call('GET', `/admin/errors?${query}`)).code, 'VALIDATION_ERROR', query)
  assert.equal(errorOf(await owner.call('GET', '/admin/errors')).code, 'FORBIDDEN')
})

test('GET /admin/stats fails if a figure cannot be read, instead of showing zero', async t => {
  const broken = await platform(t)
  await broken.app.db.execute(sql`drop table usage_records`)
  const response = await broken.operator.call('GET', '/admin/stats')
  assert.deepEqual(errorOf(response), { status: 500, code: 'INTERNAL_ERROR' })
})

test('GET /admin/users finds users by name, address and kind', async () => {
  const list = async (query: string) => (await server.operator.call('GET', `/admin/users?${query}`)).json().items
  const [found] = await list('operator=true')
  assert.deepEqual([found.username, found.isOperator, found.email, found.eraseAfter], ['operator', true, null, null])
  assert.equal((await list('operator=true')).length, 1)
  assert.equal((await list('username=operator&operator=false')).length, 0)
  await server.app.db.execute(sql`update users set email = 'Ada@Example.com' where id = ${member.id}`)
  assert.deepEqual(
    (await list('email=ada@example.COM')).map((user: { id: string }) => user.id),
    [member.id]
  )
})

test('operators can appoint operators, effective immediately, but never remove the last one', async () => {
  const url = (id: string) => `/admin/users/${id}`
  const set = (by: typeof owner, id: string, isOperator: boolean) => by.call('PATCH', url(id), { isOperator })
  assert.equal((await set(owner, owner.id, true)).statusCode, 403)
  assert.equal((await owner.call('GET', '/admin/users')).statusCode, 403)

  const granted = await set(server.operator, owner.id, true)
  assert.deepEqual([granted.statusCode, granted.json().isOperator], [200, true])
  assert.equal((await owner.call('GET', '/admin/users')).statusCode, 200)
  await set(server.operator, owner.id, true)
  assert.equal((await set(server.operator, owner.id, false)).json().isOperator, false)
  assert.equal((await owner.call('GET', '/admin/users')).statusCode, 403)

  const last = await set(server.operator, server.operator.id, false)
  assert.deepEqual([last.statusCode, last.json().error.message], [409, 'The last operator cannot be revoked'])
  assert.equal((await set(server.operator, randomUUID(), true)).statusCode, 404)
  for (const more of [{ isOperator: true, email: 'x' }, { isOperator: 'yes' }, {}])
    assert.equal((await server.operator.call('PATCH', url(owner.id), more)).statusCode, 400)

  const events = (
    await server.operator.call('GET', `/admin/audit?type=admin&userId=${server.operator.id}&outcome=success`)
  )
    .json()
    .items.filter((event: { resourceId: string }) => event.resourceId === owner.id)
  assert.deepEqual(
    events.map((event: { action: string; resource: string }) => [event.action, event.resource]),
    [
      ['revoke', 'operator'],
      ['grant', 'operator']
    ]
  )
})

test('PATCH /admin/teams/:team changes the plan of any team, by id or slug, and records it in the team’s audit log', async () => {
  const { team, owner: founder } = await server.addPeople()
  const set = (idOrSlug: string, plan: string) => server.operator.call('PATCH', `/admin/teams/${idOrSlug}`, { plan })
  const changed = await set(team.id, 'free')
  assert.equal(changed.statusCode, 200, changed.body)
  const { slug, plan, members, version } = changed.json()
  assert.deepEqual({ slug, plan, members, version }, { slug: team.slug, plan: 'free', members: 3, version: 2 })
  const invite = (email: string) => founder.call('POST', `/api/v1/teams/${team.id}/invitations`, { email })
  assert.equal(errorOf(await invite('a@example.com')).code, 'QUOTA_EXCEEDED')

  assert.equal((await set(team.slug, 'starter')).json().plan, 'starter')
  assert.equal((await set(team.slug, 'starter')).json().version, 3, 'the same plan again is no change')
  assert.equal((await invite('a@example.com')).statusCode, 201)

  const events = await founder.call('GET', `/api/v1/teams/${team.id}/audit?type=billing&outcome=success`)
  assert.deepEqual(
    events.json().items.map((event: Record<string, unknown>) => [event.action, event.actor, event.details]),
    [
      ['plan', 'operator', { from: 'free', to: 'starter' }],
      ['plan', 'operator', { from: 'pro', to: 'free' }]
    ]
  )
})

test('PATCH /admin/teams/:team refuses plans and teams that do not exist, and plans that are set by a subscription', async () => {
  const { team, owner: founder } = await server.addPeople()
  const set = (idOrSlug: string, plan: unknown, by = server.operator) =>
    by.call('PATCH', `/admin/teams/${idOrSlug}`, { plan })
  for (const plan of ['gold', '', null, 1]) assert.equal(errorOf(await set(team.id, plan)).code, 'VALIDATION_ERROR')
  for (const nobody of [randomUUID(), 'no-such-team', 'No%00Team'])
    assert.equal(errorOf(await set(nobody, 'pro')).code, 'NOT_FOUND', nobody)
  assert.equal(errorOf(await set(team.id, 'pro', founder)).code, 'FORBIDDEN')

  await server.app.db.execute(sql`update teams set stripe_subscription_id = 'sub_1' where id = ${team.id}`)
  assert.equal(errorOf(await set(team.id, 'free')).code, 'CONFLICT')
  assert.equal((await founder.call('GET', `/api/v1/teams/${team.id}`)).json().plan, 'pro')
})

test('if the database fails, operators get 5xx, not 403', async t => {
  const broken = await platform(t)
  await broken.app.db.execute(sql`alter table users rename to lost`)
  broken.app.auth.forget()
  for (const url of ['/admin/users', '/admin/audit', '/admin/stats']) {
    const response = await broken.operator.call('GET', url)
    assert.ok(response.statusCode >= 500, `${url}: ${response.statusCode}`)
  }
})
