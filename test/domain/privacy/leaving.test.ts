import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { asc, eq, sql } from 'drizzle-orm'
import Fastify from 'fastify'
import { apiTokens, auditLogs, teamInvitations, teamMembers, teams, users } from '../../../drizzle/schema.ts'
import database from '../../../plugins/database/index.ts'
import { hashToken } from '../../../plugins/lib/token.ts'
import { createToken, tokenVerifier } from '../../../src/domain/accounts/tokens.ts'
import type { Db } from '../../../src/domain/base/db.ts'
import { eraseDueAccounts, requestErasure, restoreAccount } from '../../../src/domain/privacy/leaving.ts'
import { lockTeam } from '../../../src/domain/teams/access.ts'
import { acceptInvitation, invite } from '../../../src/domain/teams/invitations.ts'
import { transferTeam } from '../../../src/domain/teams/members.ts'
import { freshDatabase } from '../../support/database.ts'
import { addTeam, addUser, auditLog, openDatabase } from '../support.ts'

const never = new AbortController().signal
const inTransaction = <Value>(db: Db, work: (tx: Db) => Promise<Value>) => db.transaction(tx => work(tx))

/** Uses the pool of the server, because the bare driver does not survive lost connections. */
async function openPool(t: TestContext): Promise<Db> {
  const app = Fastify()
  await app.register(database, { url: await freshDatabase(t) })
  t.after(() => app.close())
  await app.ready()
  return app.db
}

/** All data about access; it must be unchanged after a failed operation. */
async function state(db: Db): Promise<unknown> {
  const members = await db.select().from(teamMembers).orderBy(asc(teamMembers.teamId), asc(teamMembers.userId))
  const rows = [
    await db.select().from(users).orderBy(asc(users.id)),
    await db.select().from(teams).orderBy(asc(teams.id)),
    members,
    await db.select().from(teamInvitations).orderBy(asc(teamInvitations.id)),
    await db.select().from(apiTokens).orderBy(asc(apiTokens.id))
  ]
  return rows.map(table => table.map(({ updatedAt: _, ...row }: Record<string, unknown>) => row))
}

/** Ends the connection that writes to a table, in the middle of its transaction, as a killed process or server would. */
async function killWritersOf(db: Db, table: string): Promise<() => Promise<void>> {
  await db.execute(sql`create or replace function die() returns trigger language plpgsql as $$
    begin perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(5); return new; end $$`)
  await db.execute(
    sql.raw(`create trigger die after insert or update or delete on ${table} for each statement execute function die()`)
  )
  return async () => {
    await db.execute(sql.raw(`drop trigger die on ${table}`))
  }
}

/** Runs an operation that is killed at its writes to each of the tables in turn. */
async function killedAt(db: Db, tables: readonly string[], act: () => Promise<unknown>): Promise<void> {
  const before = await state(db)
  for (const table of tables) {
    const recover = await killWritersOf(db, table)
    await assert.rejects(act(), table)
    await recover()
    assert.deepEqual(await state(db), before, table)
  }
}

const record = (tx: Db) => auditLog.write(tx, { eventType: 'team', action: 'test', resource: 'team' })

async function withInvitation(db: Db) {
  const [owner, guest] = [await addUser(db), await addUser(db)]
  const team = await addTeam(db, { [owner]: 'owner' })
  await db.update(users).set({ email: 'Guest@example.com', emailVerifiedAt: new Date() }).where(eq(users.id, guest))
  const { token } = await inTransaction(db, async tx =>
    invite(tx, await lockTeam(tx, owner, team.id), owner, 'guest@example.com', 'admin')
  )
  return { owner, guest, team, token }
}

test('a user who deletes their account is signed out at once, and can restore it only with the code', async t => {
  const db = await openDatabase(t)
  const user = await addUser(db, 'ada')
  const { token } = await createToken(db, { userId: user, name: 'x', scopes: ['admin'] })
  const verify = () => tokenVerifier(() => db).verify(hashToken(token))
  assert.ok(await verify())

  const { code, eraseAfter } = await inTransaction(db, tx => requestErasure(tx, user))
  assert.ok(Math.abs(eraseAfter.getTime() - Date.now() - 14 * 86_400_000) < 60_000)
  assert.equal(await verify(), null)
  assert.equal(await eraseDueAccounts(db, auditLog, never), 0)

  await assert.rejects(restoreAccount(db, 'x'.repeat(43)), { code: 'NOT_FOUND' })
  assert.deepEqual(await restoreAccount(db, code), { id: user, username: 'ada' })
  await assert.rejects(restoreAccount(db, code), { code: 'NOT_FOUND' })
  assert.equal(await verify(), null, 'its tokens stay revoked')
})

test('an account deletion that would leave teams without an owner is refused, and names them', async t => {
  const db = await openDatabase(t)
  const [user, other] = [await addUser(db), await addUser(db)]
  await addTeam(db, { [user]: 'owner' }, 'mine-alone')
  await addTeam(db, { [user]: 'owner', [other]: 'owner' }, 'shared')
  await addTeam(db, { [user]: 'owner', [other]: 'admin' }, 'needs-me')
  const used = await addTeam(db, { [user]: 'owner' }, 'has-apps')
  await db.execute(sql`insert into apps (team_id, name, slug) values (${used.id}::uuid, 'x', 'xyz')`)
  await db.update(teams).set({ stripeSubscriptionId: 'sub' }).where(eq(teams.id, used.id))

  const before = await state(db)
  await assert.rejects(
    inTransaction(db, tx => requestErasure(tx, user)),
    (error: { code: string; detail: string }) => {
      assert.equal(error.code, 'CONFLICT')
      assert.deepEqual(error.detail.split('; ').toSorted(), [
        'has-apps (an app, a subscription)',
        'needs-me (another member)'
      ])
      return true
    }
  )
  assert.deepEqual(await state(db), before)
})

test('two last owners who delete their accounts concurrently do not both succeed', async t => {
  const db = await openDatabase(t)
  for (let round = 0; round < 5; round++) {
    const [a, b, c] = [await addUser(db), await addUser(db), await addUser(db)]
    await addTeam(db, { [a]: 'owner', [b]: 'owner', [c]: 'member' })
    const results = await Promise.allSettled([a, b].map(id => inTransaction(db, tx => requestErasure(tx, id))))
    assert.deepEqual(results.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected'])
  }
})

test('the last operator cannot leave, and one who leaves is no longer an operator', async t => {
  const db = await openDatabase(t)
  const [a, b] = [await addUser(db), await addUser(db)]
  await db.update(users).set({ isAdmin: true })
  await inTransaction(db, tx => requestErasure(tx, a))
  assert.equal(await db.$count(users, eq(users.isAdmin, true)), 1)
  await assert.rejects(
    inTransaction(db, tx => requestErasure(tx, b)),
    { code: 'CONFLICT' }
  )
})

test('after the grace period, only a UUID of the person is left in any table', async t => {
  const db = await openDatabase(t)
  const [user, other] = [await addUser(db, 'grace-hopper'), await addUser(db)]
  await db
    .update(users)
    .set({ email: 'Grace@Navy.example', avatarUrl: 'https://navy.example/grace' })
    .where(eq(users.id, user))
  const own = await addTeam(db, { [user]: 'owner' }, 'grace-hopper')
  const shared = await addTeam(db, { [user]: 'member', [other]: 'owner' }, 'shared')
  const third = await addTeam(db, { [other]: 'owner' }, 'third')
  await inTransaction(db, async tx =>
    invite(tx, await lockTeam(tx, other, third.id), other, 'grace@navy.example', 'admin')
  )
  await createToken(db, { userId: user, name: 'grace laptop', scopes: ['read'] })
  const event = { eventType: 'team' as const, actor: 'grace-hopper', userId: user, ip: '192.0.2.9', userAgent: 'cobol' }
  await auditLog.write(db, {
    ...event,
    action: 'create',
    resource: 'team',
    teamId: own.id,
    resourceName: "grace-hopper's Team",
    details: { slug: 'grace-hopper' }
  })
  for (let n = 0; n < 1_200; n++)
    await auditLog.write(db, { ...event, action: 'deploy', resource: 'app', teamId: shared.id, resourceName: 'site' })
  await auditLog.write(db, {
    eventType: 'team',
    action: 'update',
    resource: 'member',
    resourceId: user,
    resourceName: 'grace-hopper',
    actor: 'boss',
    userId: other,
    teamId: shared.id
  })

  await inTransaction(db, tx => requestErasure(tx, user))
  await db
    .update(users)
    .set({ eraseAfter: new Date(Date.now() - 1) })
    .where(eq(users.id, user))
  assert.equal(
    await eraseDueAccounts(db, auditLog, AbortSignal.abort()),
    0,
    'a run that is cut off leaves it to the next'
  )
  const runs = await Promise.all([eraseDueAccounts(db, auditLog, never), eraseDueAccounts(db, auditLog, never)])
  assert.ok(runs.some(count => count === 1))

  const tables = await db.execute<{ name: string }>(
    sql`select table_name as name from information_schema.tables where table_schema = 'public'`
  )
  for (const { name } of tables) {
    const rows = JSON.stringify(await db.execute(sql`select * from ${sql.identifier(name)}`)).toLowerCase()
    for (const trace of ['grace', 'navy.example', '192.0.2.9', 'cobol'])
      assert.ok(!rows.includes(trace), `${trace} in ${name}`)
  }
  assert.equal(await db.$count(auditLogs, eq(auditLogs.userId, user)), 1_201, 'what was done stays')
  assert.equal(await db.$count(auditLogs, eq(auditLogs.resourceName, 'site')), 1_200)
  assert.deepEqual((await db.select().from(teams)).map(({ slug }) => slug).toSorted(), ['shared', 'third'])
})

test('a kill at any point of a deletion, a transfer or an acceptance leaves the previous state', async t => {
  const db = await openPool(t)
  const { owner, guest, team, token } = await withInvitation(db)
  await createToken(db, { userId: owner, name: 'x', scopes: ['read'] })

  await killedAt(db, ['team_members', 'team_invitations', 'audit_logs', 'audit_unsealed'], () =>
    inTransaction(db, async tx => {
      await acceptInvitation(tx, guest, token)
      await record(tx)
    })
  )
  await inTransaction(db, tx => acceptInvitation(tx, guest, token))

  await killedAt(db, ['team_members', 'audit_logs'], () =>
    inTransaction(db, async tx => {
      await transferTeam(tx, await lockTeam(tx, owner, team.id), owner, guest)
      await record(tx)
    })
  )
  await inTransaction(db, async tx => transferTeam(tx, await lockTeam(tx, owner, team.id), owner, guest))

  await killedAt(db, ['users', 'api_tokens', 'team_invitations', 'audit_logs'], () =>
    inTransaction(db, async tx => {
      await requestErasure(tx, owner)
      await record(tx)
    })
  )
})

test('an erasure that is killed at any point is finished by the next run', async t => {
  const db = await openPool(t)
  for (const table of [
    'audit_logs',
    'audit_seals',
    'teams',
    'team_members',
    'team_invitations',
    'idempotency_keys',
    'api_tokens',
    'users'
  ]) {
    const user = await addUser(db, `doomed-${table}`)
    await addTeam(db, { [user]: 'owner' })
    await createToken(db, { userId: user, name: 'x', scopes: ['read'] })
    await auditLog.write(db, {
      eventType: 'auth',
      action: 'login',
      resource: 'session',
      userId: user,
      actor: `doomed-${table}`
    })
    await db
      .update(users)
      .set({ email: `${table}@example.com`, eraseAfter: new Date(Date.now() - 1) })
      .where(eq(users.id, user))

    const recover = await killWritersOf(db, table)
    await eraseDueAccounts(db, auditLog, never).catch(() => {})
    await recover()
    await eraseDueAccounts(db, auditLog, never)
    assert.equal(await db.$count(users, eq(users.id, user)), 0, table)
    assert.equal(await db.$count(auditLogs, eq(auditLogs.actor, `doomed-${table}`)), 0, table)
  }
  assert.equal(await db.$count(teams), 0)
})
