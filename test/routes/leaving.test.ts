import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { eq } from 'drizzle-orm'
import { auditLogs, users } from '../../drizzle/schema.ts'
import { addTeam } from '../domain/support.ts'
import { errorOf, platform } from './support.ts'

const server = await platform({ after })
const { db } = server.app

test('DELETE /me ends every token from the next request on, and POST /me/restore undoes it', async () => {
  const caller = await server.addCaller({ username: 'leaver' })
  const left = await caller.call('DELETE', '/api/v1/me')
  assert.equal(left.statusCode, 202)
  const { code, eraseAfter } = left.json()
  assert.ok(Date.parse(eraseAfter) > Date.now() + 13 * 86_400_000)
  assert.equal((await caller.call('GET', '/api/v1/me')).statusCode, 401)

  const [user] = await db.select().from(users).where(eq(users.id, caller.id))
  assert.ok(!JSON.stringify(user).includes(code))
  const listed = (await server.operator.call('GET', '/admin/users?username=leaver')).json().items[0]
  assert.equal(listed.eraseAfter, eraseAfter)

  const restore = (text: string) => server.as(null, 'POST', '/api/v1/me/restore', { code: text })
  assert.equal((await restore('x'.repeat(43))).statusCode, 404)
  assert.deepEqual((await restore(code)).json(), { id: caller.id, username: 'leaver' })
  const events = await db
    .select()
    .from(auditLogs)
    .where(eq(auditLogs.resourceId, caller.id))
    .orderBy(auditLogs.createdAt)
  assert.deepEqual(
    events.map(({ eventType, action, resource, outcome }) => [eventType, action, resource, outcome]),
    [
      ['auth', 'delete', 'user', 'success'],
      ['auth', 'restore', 'user', 'success']
    ]
  )
})

test('DELETE /me names the teams that need their owner', async () => {
  const { owner, team } = await server.addPeople()
  const { status, code, detail } = errorOf(await owner.call('DELETE', '/api/v1/me'))
  assert.deepEqual([status, code, detail], [409, 'CONFLICT', `${team.slug} (2 other members)`])
  assert.equal((await owner.call('GET', '/api/v1/me')).statusCode, 200)
})

test('GET /me/export contains all own data, nothing about others, and no hash', async () => {
  const caller = await server.addCaller({ username: 'collector' })
  const other = await server.addCaller({ username: 'somebody-else' })
  const team = await addTeam(db, { [caller.id]: 'admin', [other.id]: 'owner' })
  for (let n = 0; n < 3; n++) await caller.call('POST', '/api/v1/apps', { name: `mine ${n}`, team: team.id })
  await other.call('POST', '/api/v1/apps', { name: 'not mine', team: team.id })

  const exported = await caller.call('GET', '/api/v1/me/export')
  assert.equal(exported.statusCode, 200)
  const { account, teams, tokens, audit, ...rest } = exported.json()
  assert.deepEqual([account.id, account.username], [caller.id, 'collector'])
  assert.deepEqual(
    teams.map(({ id, role }: { id: string; role: string }) => [id, role]),
    [[team.id, 'admin']]
  )
  assert.equal(tokens.length, 1)
  assert.equal(audit.length, 3)
  assert.deepEqual(Object.keys(rest), [
    'exportedAt',
    'addresses',
    'sessions',
    'passwords',
    'invitations',
    'deployments'
  ])
  assert.ok(!/somebody-else|not mine|hash/i.test(exported.body))

  const narrow = await server.addCaller({ scopes: ['read'] })
  assert.equal((await narrow.call('GET', '/api/v1/me/export')).statusCode, 403)
})
