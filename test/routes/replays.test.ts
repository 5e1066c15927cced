import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import { createToken } from '../../src/domain/accounts/tokens.ts'
import { addTeam } from '../domain/support.ts'
import { type Caller, errorOf, platform } from './support.ts'

/* A request that is repeated with its Idempotency-Key is answered from memory, and only to those who may still ask. */

const server = await platform({ after })

/** Sends a request that can be sent again. */
async function once(caller: Caller, method: string, url: string, body?: unknown) {
  const headers = { 'idempotency-key': randomUUID() }
  const first = await caller.call(method, url, body, headers)
  assert.ok(first.statusCode < 300, first.body)
  return { first, again: () => caller.call(method, url, body, headers) }
}

test('a replay is refused to a member who has lost the role, or has left', async () => {
  const { team, owner, admin } = await server.addPeople()
  const app = (await admin.call('POST', '/api/v1/apps', { name: 'site', team: team.slug })).json()
  const { first, again } = await once(admin, 'PATCH', `/api/v1/apps/${app.id}`, { name: 'renamed' })
  assert.equal((await again()).body, first.body)

  const url = `/api/v1/teams/${team.id}/members/${admin.id}`
  await owner.call('PATCH', url, { role: 'member' })
  assert.equal(errorOf(await again()).code, 'FORBIDDEN')
  await owner.call('DELETE', url)
  assert.equal(errorOf(await again()).code, 'NOT_FOUND')
})

test('a replay of a creation is refused to a former member', async () => {
  const { team, owner, member } = await server.addPeople()
  const { again } = await once(member, 'POST', '/api/v1/apps', { name: 'theirs', team: team.slug })
  assert.equal((await again()).statusCode, 201)
  await owner.call('DELETE', `/api/v1/teams/${team.id}/members/${member.id}`)
  assert.equal(errorOf(await again()).code, 'NOT_FOUND')
})

test('a replay is refused to a token for another team', async () => {
  const { team, owner } = await server.addPeople()
  const other = await addTeam(server.app.db, { [owner.id]: 'owner' })
  const { token } = await createToken(server.app.db, {
    userId: owner.id,
    name: 'narrow',
    scopes: ['admin'],
    teamId: other.id
  })
  const headers = { 'idempotency-key': randomUUID() }
  const rename = (by: string) => server.as(by, 'PATCH', `/api/v1/teams/${team.id}`, { name: 'renamed' }, headers)
  assert.equal((await rename(owner.token)).statusCode, 200)
  assert.equal(errorOf(await rename(token)).code, 'NOT_FOUND')
})

test('a change that ends its own right can be repeated: giving a team away, leaving, deleting', async () => {
  const { team, owner, admin, member } = await server.addPeople()
  const given = await once(owner, 'POST', `/api/v1/teams/${team.id}/transfer`, { user: admin.id })
  assert.equal((await given.again()).body, given.first.body)
  const left = await once(member, 'DELETE', `/api/v1/teams/${team.id}/members/${member.id}`)
  assert.equal((await left.again()).statusCode, 204)
  const { id } = (await admin.call('POST', '/api/v1/apps', { name: 'gone', team: team.slug })).json()
  const deleted = await once(admin, 'DELETE', `/api/v1/apps/${id}`)
  assert.equal((await deleted.again()).statusCode, 204)
})

test('an operator repeats a change of a team that they are not in', async () => {
  const { team } = await server.addPeople()
  const { first, again } = await once(server.operator, 'PATCH', `/admin/teams/${team.id}`, { plan: 'starter' })
  assert.equal((await again()).body, first.body)
})
