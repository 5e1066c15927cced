import assert from 'node:assert/strict'
import { after, test } from 'node:test'
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

test('GET /teams/:team takes a UUID or a slug', async () => {
  for (const key of [team.id, team.slug]) {
    const response = await member.call('GET', `/api/v1/teams/${key}`)
    assert.equal(response.statusCode, 200)
    assert.deepEqual(Object.keys(response.json()), ['id', 'name', 'slug', 'plan', 'role', 'createdAt'])
  }
})

test('a team that one is not in does not exist', async () => {
  for (const key of [team.id, team.slug, 'nothing', '%F0%9F%90%8E'])
    assert.deepEqual(errorOf(await stranger.call('GET', `/api/v1/teams/${key}`)), { status: 404, code: 'NOT_FOUND' })
})

test('nobody gets in without a token', async () => {
  for (const url of ['/api/v1/teams', '/api/v1/me', '/api/v1/apps', '/admin/stats', '/admin/audit'])
    assert.equal((await server.as(null, 'GET', url)).statusCode, 401, url)
})
