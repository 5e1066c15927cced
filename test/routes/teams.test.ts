import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { eq } from 'drizzle-orm'
import { auditLogs, teams, usageRecords } from '../../drizzle/schema.ts'
import { addTeam } from '../domain/support.ts'
import { errorOf, platform } from './support.ts'

const server = await platform({ after })
const { team, owner, admin, member, stranger } = await server.addPeople()

test("GET /teams lists one's own teams with the role in each", async () => {
  for (const [caller, role] of [
    [owner, 'owner'],
    [admin, 'admin'],
    [member, 'member']
  ] as const) {
    const { items, nextCursor } = (await caller.call('GET', '/api/v1/teams')).json()
    assert.deepEqual([items.length, items[0].id, items[0].role, nextCursor], [1, team.id, role, null])
  }
})

test('GET /teams/:team accepts a UUID or a slug', async () => {
  for (const key of [team.id, team.slug]) {
    const response = await member.call('GET', `/api/v1/teams/${key}`)
    assert.equal(response.statusCode, 200)
    assert.deepEqual(Object.keys(response.json()), ['id', 'name', 'slug', 'plan', 'role', 'version', 'createdAt'])
  }
})

test('a team of others is not found', async () => {
  for (const key of [team.id, team.slug, 'nothing', '%F0%9F%90%8E'])
    assert.deepEqual(errorOf(await stranger.call('GET', `/api/v1/teams/${key}`)), { status: 404, code: 'NOT_FOUND' })
})

test('anonymous requests are refused', async () => {
  for (const url of ['/api/v1/teams', '/api/v1/me', '/api/v1/apps', '/admin/stats', '/admin/audit'])
    assert.equal((await server.as(null, 'GET', url)).statusCode, 401, url)
})

const eventsOf = async (teamId: string) => {
  const rows = await server.app.db
    .select()
    .from(auditLogs)
    .where(eq(auditLogs.teamId, teamId))
    .orderBy(auditLogs.createdAt)
  return rows
    .filter(row => row.outcome === 'success')
    .map(row => [row.eventType, row.action, row.resource, row.details])
}

test('the creator of a team owns it, and its slug is given or derived from its name', async () => {
  const made = await stranger.call('POST', '/api/v1/teams', { name: ' Ada & Co ' })
  assert.equal(made.statusCode, 201)
  const { id, name, slug, role, plan, version } = made.json()
  assert.deepEqual(
    { name, slug, role, plan, version },
    { name: 'Ada & Co', slug: 'ada-co', role: 'owner', plan: 'pro', version: 1 }
  )
  assert.equal(made.headers.location, `/api/v1/teams/${id}`)
  assert.match((await stranger.call('POST', '/api/v1/teams', { name: 'Ada & Co' })).json().slug, /^ada-co-.{4}$/)

  const asked = { name: 'x', slug: 'ada-co' }
  assert.equal(errorOf(await owner.call('POST', '/api/v1/teams', asked)).code, 'CONFLICT')
  for (const bad of ['admin', team.id, 'a', 'A-B'])
    assert.equal(
      errorOf(await owner.call('POST', '/api/v1/teams', { name: 'x', slug: bad })).code,
      'VALIDATION_ERROR',
      bad
    )
  assert.deepEqual(await eventsOf(id), [['team', 'create', 'team', { slug: 'ada-co' }]])
})

test('the number of teams per owner is limited, even for concurrent requests', async () => {
  const eager = await server.addCaller()
  for (let n = 0; n < 48; n++) await addTeam(server.app.db, { [eager.id]: 'owner' })
  const replies = await Promise.all(
    Array.from({ length: 5 }, (_, n) => eager.call('POST', '/api/v1/teams', { name: `eager ${n}` }))
  )
  assert.deepEqual(replies.map(reply => reply.statusCode).toSorted(), [201, 201, 402, 402, 402])
})

test('only its owner can rename a team, at the version that was read', async () => {
  const { id } = (await owner.call('POST', '/api/v1/teams', { name: 'before' })).json()
  const url = `/api/v1/teams/${id}`
  const { etag } = (await owner.call('GET', url)).headers
  const changed = await owner.call('PATCH', url, { name: 'after', slug: 'after-slug' }, { 'if-match': String(etag) })
  assert.deepEqual(
    [changed.statusCode, changed.json().name, changed.json().slug, changed.json().version],
    [200, 'after', 'after-slug', 2]
  )
  assert.equal((await owner.call('PATCH', url, { name: 'late' }, { 'if-match': String(etag) })).statusCode, 412)
  assert.equal(
    (await owner.call('GET', url, undefined, { 'if-none-match': String(changed.headers.etag) })).statusCode,
    304
  )
  assert.equal(errorOf(await owner.call('PATCH', url, { slug: team.slug })).code, 'CONFLICT')
  assert.equal(errorOf(await owner.call('PATCH', url, { slug: 'www' })).code, 'VALIDATION_ERROR')
  assert.deepEqual((await eventsOf(id)).at(-1), [
    'team',
    'update',
    'team',
    { before: { name: 'before', slug: 'before' }, after: { name: 'after', slug: 'after-slug' } }
  ])

  for (const caller of [admin, member])
    assert.equal((await caller.call('PATCH', `/api/v1/teams/${team.id}`, { name: 'mine' })).statusCode, 403)
  assert.equal((await stranger.call('PATCH', `/api/v1/teams/${team.id}`, { name: 'mine' })).statusCode, 404)
})

test('names cannot contain bidirectional control characters', async () => {
  for (const mark of ['\u202e', '\u2066', '\u200f', '\u061c']) {
    const reply = await owner.call('POST', '/api/v1/teams', { name: `gro${mark}pmoc` })
    assert.equal(errorOf(reply).code, 'VALIDATION_ERROR', `U+${mark.charCodeAt(0).toString(16)}`)
  }
  for (const name of ['فريق', 'צוות', 'a\u200db'])
    assert.equal((await owner.call('POST', '/api/v1/teams', { name })).statusCode, 201, name)
})

test('read-only fields cannot be set', async () => {
  for (const field of [
    { plan: 'free' },
    { id: team.id },
    { role: 'owner' },
    { version: 9 },
    { stripeCustomerId: 'x' }
  ]) {
    assert.equal((await owner.call('POST', '/api/v1/teams', { name: 'x', ...field })).statusCode, 400)
    assert.equal((await owner.call('PATCH', `/api/v1/teams/${team.id}`, { name: 'x', ...field })).statusCode, 400)
  }
  assert.equal((await owner.call('GET', `/api/v1/teams/${team.id}`)).json().plan, 'pro')
})

test('a team with apps or a subscription cannot be deleted; otherwise it can, and bills are kept', async () => {
  const { id } = (await owner.call('POST', '/api/v1/teams', { name: 'doomed' })).json()
  const app = (await owner.call('POST', '/api/v1/apps', { name: 'last', team: id })).json()
  await server.app.db.update(teams).set({ stripeSubscriptionId: 'sub_1' }).where(eq(teams.id, id))
  await server.app.db
    .insert(usageRecords)
    .values({ teamId: id, metric: 'builds', quantity: '1', billingPeriod: '2026-01-01' })
  const attempt = () => owner.call('DELETE', `/api/v1/teams/${id}`)

  const refused = await attempt()
  assert.deepEqual(
    [refused.statusCode, refused.json().error.message],
    [409, 'The team still has an app and a subscription']
  )
  await owner.call('DELETE', `/api/v1/apps/${app.id}`)
  assert.equal((await attempt()).json().error.message, 'The team still has a subscription')
  await server.app.db.update(teams).set({ stripeSubscriptionId: null }).where(eq(teams.id, id))
  assert.equal((await attempt()).statusCode, 204)
  assert.equal((await attempt()).statusCode, 404)
  assert.equal(await server.app.db.$count(usageRecords, eq(usageRecords.teamId, id)), 1)
  assert.deepEqual((await eventsOf(id)).at(-1), ['team', 'delete', 'team', { slug: 'doomed' }])
})

test('creating an app while its team is deleted results in both or neither', async () => {
  for (let round = 0; round < 10; round++) {
    const { id } = (await owner.call('POST', '/api/v1/teams', { name: `race ${round}` })).json()
    const [made, deleted] = await Promise.all([
      owner.call('POST', '/api/v1/apps', { name: `racer ${round}`, team: id }),
      owner.call('DELETE', `/api/v1/teams/${id}`)
    ])
    assert.ok(
      (made.statusCode === 201 && deleted.statusCode === 409) ||
        (made.statusCode === 404 && deleted.statusCode === 204),
      `${made.statusCode} and ${deleted.statusCode}`
    )
    await owner.call('DELETE', `/api/v1/apps/${made.json().id}`)
    await owner.call('DELETE', `/api/v1/teams/${id}`)
  }
})
