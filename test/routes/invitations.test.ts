import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, test } from 'node:test'
import { eq, sql } from 'drizzle-orm'
import { auditLogs, idempotencyKeys, teamInvitations, teamMembers, users } from '../../drizzle/schema.ts'
import { type Caller, errorOf, platform } from './support.ts'

// Shedding is off: the load of the test machine must not affect invitations.
const server = await platform({ after })
const { db } = server.app
const ACCEPT = '/api/v1/invitations/accept'
let serial = 0

async function guest(options: { verified?: boolean; email?: string } = {}): Promise<Caller & { email: string }> {
  const { verified = true, email = `Guest${++serial}@Example.com` } = options
  const caller = await server.addCaller()
  await db
    .update(users)
    .set({ email, emailVerifiedAt: verified ? new Date() : null })
    .where(eq(users.id, caller.id))
  return { ...caller, email }
}

async function people(plan: 'free' | 'starter' | 'pro' = 'pro') {
  const found = await server.addPeople()
  const changed = await server.operator.call('PATCH', `/admin/teams/${found.team.id}`, { plan })
  assert.equal(changed.statusCode, 200, changed.body)
  const url = `/api/v1/teams/${found.team.id}/invitations`
  const send = (by: Caller, email: string, role?: string) => by.call('POST', url, { email, ...(role && { role }) })
  const roleOf = async ({ id }: Caller) =>
    (await db.select().from(teamMembers).where(eq(teamMembers.userId, id))).find(row => row.teamId === found.team.id)
      ?.role
  return { ...found, url, send, roleOf }
}

const accept = (caller: Caller, token: string) => caller.call('POST', ACCEPT, { token })

test('an invitation shows its token once, is accepted by its address, and creates a member', async () => {
  const { admin, member, team, url, send, roleOf } = await people()
  const invited = await guest()
  const made = await send(admin, invited.email.toUpperCase(), 'admin')
  assert.equal(made.statusCode, 201)
  const { token, ...invitation } = made.json()
  assert.match(token, /^[0-9a-f]{64}$/)
  assert.deepEqual(
    [invitation.email, invitation.role, invitation.state],
    [invited.email.toLowerCase(), 'admin', 'pending']
  )
  const days = (Date.parse(invitation.expiresAt) - Date.parse(invitation.createdAt)) / 86_400_000
  assert.equal(days, 7)

  const [row] = await db.select().from(teamInvitations).where(eq(teamInvitations.id, invitation.id))
  assert.deepEqual(row!.tokenHash, createHash('sha256').update(token).digest())
  const kept = [await db.select().from(auditLogs), await db.select().from(idempotencyKeys)]
  assert.ok(!JSON.stringify(kept).includes(token))
  assert.ok(!JSON.stringify(kept).toLowerCase().includes(invited.email.toLowerCase()), 'the audit log holds no address')
  assert.ok(!(await admin.call('GET', url)).body.includes(token))
  assert.equal((await member.call('GET', url)).statusCode, 403)

  const accepted = await accept(invited, token)
  assert.deepEqual([accepted.statusCode, accepted.json().id, accepted.json().role], [200, team.id, 'admin'])
  assert.equal(await roleOf(invited), 'admin')
  assert.equal((await admin.call('GET', url)).json().items[0].state, 'accepted')
  const again = await accept(invited, token)
  assert.deepEqual([again.statusCode, again.json().error.message], [409, 'This invitation is used already'])

  const events = await db.select().from(auditLogs).where(eq(auditLogs.teamId, team.id)).orderBy(auditLogs.createdAt)
  const told = events
    .filter(event => event.outcome === 'success' && event.eventType === 'team')
    .map(event => [event.eventType, event.action, event.resource, event.userId])
  assert.deepEqual(told, [
    ['team', 'invite', 'team', admin.id],
    ['team', 'accept', 'team', invited.id]
  ])
})

test('with the default settings, the creator of a team can invite people', async () => {
  const [founder, invited] = [await server.addCaller(), await guest()]
  const team = (await founder.call('POST', '/api/v1/teams', { name: 'as it ships' })).json()
  const sent = await founder.call('POST', `/api/v1/teams/${team.id}/invitations`, { email: invited.email })
  assert.equal(sent.statusCode, 201, sent.body)
  assert.equal((await accept(invited, sent.json().token)).json().role, 'member')
})

test('invitations cannot grant ownership, and only admins can send them', async () => {
  const { owner, member, stranger, send } = await people()
  assert.equal((await send(owner, 'a@example.com', 'owner')).statusCode, 400)
  assert.equal((await send(member, 'a@example.com')).statusCode, 403)
  assert.equal((await send(stranger, 'a@example.com')).statusCode, 404)
  for (const email of [
    '',
    'a',
    'a@b',
    'a b@example.com',
    'a@example..com',
    `${'x'.repeat(65)}@example.com`,
    'a@example.com\n'
  ])
    assert.equal((await send(owner, email)).statusCode, 400, email)
})

test('a stolen link is useless: the invited address must be verified', async () => {
  const { admin, send, roleOf } = await people()
  const invited = await guest()
  const { token } = (await send(admin, invited.email)).json()
  const thieves = [await guest(), await server.addCaller(), await guest({ verified: false, email: invited.email })]
  for (const thief of thieves) {
    const refused = errorOf(await accept(thief, token))
    assert.deepEqual([refused.status, refused.code], [403, 'FORBIDDEN'])
    assert.equal(await roleOf(thief), undefined)
  }
  assert.equal((await accept(invited, 'f'.repeat(64))).statusCode, 404)
  assert.equal((await server.as(null, 'POST', ACCEPT, { token })).statusCode, 401)
  assert.equal((await accept(invited, token)).statusCode, 200)
})

test('a revoked or expired invitation is invalid, and makes room for another', async () => {
  const { admin, url, send } = await people()
  const invited = await guest()
  const first = (await send(admin, invited.email)).json()
  assert.equal((await admin.call('DELETE', `${url}/${first.id}`)).statusCode, 204)
  assert.equal((await admin.call('DELETE', `${url}/${first.id}`)).statusCode, 404)
  assert.match((await accept(invited, first.token)).json().error.message, /revoked/)

  const second = (await send(admin, invited.email)).json()
  assert.equal((await send(admin, invited.email)).json().error.message, 'This address is already invited')
  await db.update(teamInvitations).set({ expiresAt: sql`now()` }).where(eq(teamInvitations.id, second.id))
  assert.match((await accept(invited, second.token)).json().error.message, /expired/)
  assert.equal((await admin.call('GET', url)).json().items[0].state, 'expired')

  const third = (await send(admin, invited.email)).json()
  assert.equal((await accept(invited, third.token)).statusCode, 200)
  assert.equal((await send(admin, invited.email)).json().error.message, 'A member of the team has this address')
})

test('an invitation cannot be revoked through another team', async () => {
  const { admin, send } = await people()
  const other = await people()
  const { id } = (await send(admin, 'x@example.com')).json()
  assert.equal((await other.owner.call('DELETE', `${other.url}/${id}`)).statusCode, 404)
})

test('invitations of a demoted or removed admin are revoked', async () => {
  for (const method of ['PATCH', 'DELETE']) {
    const { owner, admin, team, send } = await people()
    const invited = await guest()
    const { token } = (await send(admin, invited.email, 'admin')).json()
    await owner.call(
      method,
      `/api/v1/teams/${team.id}/members/${admin.id}`,
      method === 'PATCH' ? { role: 'member' } : undefined
    )
    assert.match((await accept(invited, token)).json().error.message, /revoked/)
  }
})

test('the places of a plan are checked when inviting and accepting, even concurrently', async () => {
  const { admin, send, team } = await people('starter')
  const guests = [await guest(), await guest(), await guest()]
  const sent = await Promise.all(guests.map(({ email }) => send(admin, email)))
  assert.deepEqual(sent.map(reply => reply.statusCode).toSorted(), [201, 201, 402])
  const refused = errorOf(sent.find(reply => reply.statusCode === 402)!)
  assert.equal(refused.code, 'QUOTA_EXCEEDED')

  const late = await guest()
  const places = guests.filter((_, index) => sent[index]!.statusCode === 201)
  const tokens = sent.filter(reply => reply.statusCode === 201).map(reply => reply.json().token)
  await db.insert(teamMembers).values({ teamId: team.id, userId: late.id, role: 'member' })
  const accepted = await Promise.all(places.map((caller, index) => accept(caller, tokens[index])))
  assert.deepEqual(accepted.map(reply => reply.statusCode).toSorted(), [200, 402])

  const free = await people('free')
  assert.equal((await free.send(free.owner, 'x@example.com')).statusCode, 402)
})

test('one invitation creates one member, even with concurrent requests', async () => {
  const { admin, send } = await people()
  const invited = await guest()
  const { token } = (await send(admin, invited.email)).json()
  const replies = await Promise.all(Array.from({ length: 5 }, () => accept(invited, token)))
  assert.deepEqual(replies.map(reply => reply.statusCode).toSorted(), [200, 409, 409, 409, 409])
})
