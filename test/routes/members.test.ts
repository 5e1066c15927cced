import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { and, eq } from 'drizzle-orm'
import { apps, auditLogs, teamMembers, users } from '../../drizzle/schema.ts'
import { findApp, lockTeam } from '../../src/domain/teams/access.ts'
import { isWaitingForLock } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'
import { type Caller, errorOf, platform } from './support.ts'

const server = await platform({ after })
const { db } = server.app

async function people() {
  const found = await server.addPeople()
  const url = `/api/v1/teams/${found.team.id}`
  const of = (caller: Caller) => `${url}/members/${caller.id}`
  const roles = async () => {
    const rows = await db.select().from(teamMembers).where(eq(teamMembers.teamId, found.team.id))
    return Object.fromEntries(rows.map(row => [row.userId, row.role]))
  }
  return { ...found, url, of, roles }
}

test('only members can see the members of a team', async () => {
  const { owner, admin, member, stranger, url } = await people()
  const first = (await member.call('GET', `${url}/members?limit=2`)).json()
  const second = (await member.call('GET', `${url}/members?limit=2&cursor=${first.nextCursor}`)).json()
  const all = [...first.items, ...second.items]
  assert.deepEqual(Object.fromEntries(all.map(({ id, role }) => [id, role])), {
    [owner.id]: 'owner',
    [admin.id]: 'admin',
    [member.id]: 'member'
  })
  assert.deepEqual(Object.keys(all[0]), ['id', 'username', 'avatarUrl', 'role', 'createdAt'])
  assert.equal((await stranger.call('GET', `${url}/members`)).statusCode, 404)
})

test('owners can change roles, effective immediately', async () => {
  const { owner, admin, member, stranger, url, of, team } = await people()
  for (const caller of [admin, member])
    assert.equal((await caller.call('PATCH', of(caller), { role: 'owner' })).statusCode, 403)
  assert.equal((await owner.call('PATCH', of(stranger), { role: 'member' })).statusCode, 404)
  for (const role of ['operator', '', null, 1])
    assert.equal((await owner.call('PATCH', of(member), { role })).statusCode, 400)

  assert.equal((await member.call('GET', `${url}/invitations`)).statusCode, 403)
  const promoted = await owner.call('PATCH', of(member), { role: 'admin' })
  assert.deepEqual([promoted.statusCode, promoted.json().role], [200, 'admin'])
  assert.equal((await member.call('GET', `${url}/invitations`)).statusCode, 200)
  await owner.call('PATCH', of(member), { role: 'member' })
  assert.equal((await member.call('GET', `${url}/invitations`)).statusCode, 403)

  await owner.call('PATCH', of(member), { role: 'member' })
  const rows = await db
    .select()
    .from(auditLogs)
    .where(and(eq(auditLogs.teamId, team.id), eq(auditLogs.outcome, 'success')))
    .orderBy(auditLogs.createdAt)
  assert.deepEqual(
    rows.map(row => [row.action, row.resource, row.resourceId, row.details]),
    [
      ['update', 'member', member.id, { from: 'member', to: 'admin' }],
      ['update', 'member', member.id, { from: 'admin', to: 'member' }]
    ]
  )
})

test('admins can remove members and admins, but not owners', async () => {
  const { owner, admin, member, of, roles } = await people()
  assert.equal((await member.call('DELETE', of(admin))).statusCode, 403)
  assert.equal((await admin.call('DELETE', of(owner))).statusCode, 403)
  assert.equal((await admin.call('DELETE', of(member))).statusCode, 204)
  assert.equal((await admin.call('DELETE', of(member))).statusCode, 404)
  assert.deepEqual(await roles(), { [owner.id]: 'owner', [admin.id]: 'admin' })
  assert.equal((await member.call('GET', of(member).replace(/\/[^/]+$/, ''))).statusCode, 404)
})

test('everybody except the last owner can leave, even with a UUID in capitals', async () => {
  const { owner, admin, member, of, roles } = await people()
  assert.equal(
    (
      await member.call(
        'DELETE',
        of(member).toUpperCase().replace('/API/V1/TEAMS', '/api/v1/teams').replace('MEMBERS', 'members')
      )
    ).statusCode,
    204
  )
  const refused = await owner.call('DELETE', of(owner))
  assert.deepEqual([refused.statusCode, errorOf(refused).code], [409, 'CONFLICT'])
  assert.equal((await owner.call('PATCH', of(owner), { role: 'member' })).statusCode, 409)
  await owner.call('PATCH', of(admin), { role: 'owner' })
  assert.equal((await owner.call('DELETE', of(owner))).statusCode, 204)
  assert.deepEqual(await roles(), { [admin.id]: 'owner' })
})

test('of two last owners who leave or demote each other concurrently, one remains', async () => {
  for (let round = 0; round < 8; round++) {
    const { owner, admin, of, roles } = await people()
    await owner.call('PATCH', of(admin), { role: 'owner' })
    const replies =
      round % 2 === 0
        ? await Promise.all([owner.call('DELETE', of(owner)), admin.call('DELETE', of(admin))])
        : await Promise.all([
            owner.call('PATCH', of(admin), { role: 'member' }),
            admin.call('PATCH', of(owner), { role: 'member' })
          ])
    const statuses = replies.map(reply => reply.statusCode).toSorted()
    assert.ok(statuses[0]! < 300 && [403, 409].includes(statuses[1]!), String(statuses))
    const owners = Object.values(await roles()).filter(role => role === 'owner')
    assert.equal(owners.length, 1)
  }
})

test('a transfer makes the new one an owner and the old one an admin', async () => {
  const { owner, admin, member, stranger, url, roles } = await people()
  const transfer = (caller: Caller, user: string) => caller.call('POST', `${url}/transfer`, { user })
  assert.equal((await transfer(admin, admin.id)).statusCode, 403)
  assert.equal((await transfer(owner, stranger.id)).statusCode, 404)
  assert.equal((await transfer(owner, owner.id)).statusCode, 409)
  const done = await transfer(owner, member.id)
  assert.deepEqual([done.statusCode, done.json().role], [200, 'admin'])
  assert.deepEqual(await roles(), { [owner.id]: 'admin', [admin.id]: 'admin', [member.id]: 'owner' })
  assert.equal((await transfer(owner, owner.id)).statusCode, 403)
})

test('two concurrent transfers result in one owner', async () => {
  const { owner, admin, member, url, roles } = await people()
  const replies = await Promise.all(
    [admin, member].map(({ id }) => owner.call('POST', `${url}/transfer`, { user: id }))
  )
  assert.deepEqual(replies.map(reply => reply.statusCode).toSorted(), [200, 403])
  assert.equal(Object.values(await roles()).filter(role => role === 'owner').length, 1)
})

test('a user demoted during a request cannot act in the old role', async () => {
  const { admin, team, of, owner } = await people()
  const app = (await owner.call('POST', '/api/v1/apps', { name: 'racy', team: team.id })).json()

  // The demotion has begun: the request waits for it, and is then judged by the new role.
  let deletion: ReturnType<typeof admin.call> | undefined
  await db.transaction(async tx => {
    await lockTeam(tx, owner.id, team.id)
    await tx.update(teamMembers).set({ role: 'member' }).where(eq(teamMembers.userId, admin.id))
    deletion = admin.call('DELETE', `/api/v1/apps/${app.id}`)
    await eventually(() => isWaitingForLock(db))
  })
  assert.equal((await deletion!).statusCode, 403)
  assert.equal(await db.$count(apps, eq(apps.id, app.id)), 1)

  // The request has begun: the demotion waits for its end.
  await owner.call('PATCH', of(admin), { role: 'admin' })
  let demotion: ReturnType<typeof admin.call> | undefined
  let wasDone = false
  await db.transaction(async tx => {
    await findApp(tx, admin.id, app.id, 'change')
    demotion = owner.call('PATCH', of(admin), { role: 'member' })
    demotion.then(() => {
      wasDone = true
    })
    await eventually(() => isWaitingForLock(db))
    assert.equal(wasDone, false)
    await tx.delete(apps).where(eq(apps.id, app.id))
  })
  assert.equal((await demotion!).statusCode, 200)
})

test('a member cannot be changed through another team, by UUID or slug', async () => {
  const { owner, of, url } = await people()
  const other = await people()
  for (const key of [other.team.id, other.team.slug])
    for (const [method, path, body] of [
      ['PATCH', `members/${other.member.id}`, { role: 'admin' }],
      ['DELETE', `members/${other.member.id}`],
      ['DELETE', `members/${owner.id}`],
      ['POST', 'transfer', { user: owner.id }]
    ] as const)
      assert.equal(
        (await owner.call(method, `/api/v1/teams/${key}/${path}`, body)).statusCode,
        404,
        `${method} ${path}`
      )
  assert.equal((await owner.call('PATCH', `${url}/members/${other.member.id}`, { role: 'admin' })).statusCode, 404)
  assert.equal((await owner.call('DELETE', of(other.member))).statusCode, 404)
  assert.equal(Object.keys(await other.roles()).length, 3)
})

test('an account that is being deleted inherits no team and counts as no owner', async () => {
  const { owner, admin, url, of } = await people()
  await owner.call('PATCH', of(admin), { role: 'owner' })
  await db
    .update(users)
    .set({ eraseAfter: new Date(Date.now() + 86_400_000) })
    .where(eq(users.id, admin.id))
  assert.equal((await owner.call('DELETE', of(owner))).statusCode, 409)
  assert.equal((await owner.call('POST', `${url}/transfer`, { user: admin.id })).statusCode, 409)
})
