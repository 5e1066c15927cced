import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { eq, sql } from 'drizzle-orm'
import fc from 'fast-check'
import { sessions, users } from '../../../drizzle/schema.ts'
import { listSessions, revokeSession, revokeSessions, sessionStore } from '../../../src/domain/accounts/sessions.ts'
import type { Db } from '../../../src/domain/base/db.ts'
import { addUser, openDatabase } from '../support.ts'

const HOUR = 3_600_000
const inHours = (hours: number) => new Date(Date.now() + hours * HOUR)

async function setup(t: TestContext) {
  const db = await openDatabase(t)
  const store = sessionStore(() => db)
  const id = await addUser(db, 'ada')
  const begin = async (over: { userAgent?: string; idleUntil?: Date; expiresAt?: Date; isOperator?: boolean } = {}) => {
    const secretHash = randomBytes(32)
    const { isOperator = false, userAgent, idleUntil = inHours(1), expiresAt = inHours(2) } = over
    const user = { id, isOperator }
    const made = { secretHash, user, method: 'password', ip: '192.0.2.1', userAgent, idleUntil, expiresAt } as const
    return { secretHash, id: await store.create(null, made) }
  }
  return { db, store, begin, userId: id }
}

const lastSeen = async (db: Db, id: string) =>
  (await db.select({ at: sessions.lastSeenAt, idle: sessions.idleUntil }).from(sessions).where(eq(sessions.id, id)))[0]!

test('a session is found only by the hash of its secret, until it is idle or expired', async t => {
  const { store, begin, userId } = await setup(t)
  const [live, idle, over] = [
    await begin(),
    await begin({ idleUntil: inHours(-1) }),
    await begin({ expiresAt: inHours(-1) })
  ]
  const found = await store.find(live.secretHash, inHours(1))
  assert.deepEqual([found?.userId, found?.username, found?.credentialId], [userId, 'ada', live.id])
  for (const { secretHash } of [idle, over, { secretHash: randomBytes(32) }])
    assert.equal(await store.find(secretHash, inHours(1)), null)
})

test('the expiry of a session in use is extended at most once a minute', async t => {
  const { db, store, begin } = await setup(t)
  const { id, secretHash } = await begin()
  const before = await lastSeen(db, id)
  await store.find(secretHash, inHours(5))
  assert.deepEqual(await lastSeen(db, id), before, 'seen a moment ago')
  await db.update(sessions).set({ lastSeenAt: sql`now() - interval '61 seconds'` }).where(eq(sessions.id, id))
  const later = inHours(5)
  await store.find(secretHash, later)
  assert.deepEqual((await lastSeen(db, id)).idle, later)
})

test('a session from before its user became an operator is invalid', async t => {
  const { db, store, begin, userId } = await setup(t)
  const before = await begin()
  await db.update(users).set({ isAdmin: true }).where(eq(users.id, userId))
  const after = await begin({ isOperator: true })
  assert.equal(await store.find(before.secretHash, inHours(1)), null)
  assert.equal((await store.find(after.secretHash, inHours(1)))?.isOperator, true)
})

test('sign-in removes the user’s expired sessions only', async t => {
  const { db, begin } = await setup(t)
  const live = await begin()
  await begin({ idleUntil: inHours(-1) })
  await begin({ expiresAt: inHours(-1) })
  const last = await begin()
  const left = await db.select({ id: sessions.id }).from(sessions)
  assert.deepEqual(left.map(({ id }) => id).sort(), [live.id, last.id].sort())
})

test('any user agent can be stored, truncated', async t => {
  const { db, begin } = await setup(t)
  const name = fc.string({ unit: 'binary', minLength: 1, maxLength: 700 })
  await fc.assert(
    fc.asyncProperty(fc.oneof(name, fc.constantFrom('\0', '\ud800', `${'a'.repeat(511)}😀`)), async userAgent => {
      const { id } = await begin({ userAgent })
      const [kept] = await db.select({ userAgent: sessions.userAgent }).from(sessions).where(eq(sessions.id, id))
      assert.ok(kept!.userAgent!.length <= 512)
      assert.ok(!kept!.userAgent!.includes('\0'))
    }),
    { numRuns: 40 }
  )
})

test('ending one session, or all but one, ends no others', async t => {
  const { db, store, begin, userId } = await setup(t)
  const made = [await begin(), await begin(), await begin(), await begin()]
  const stranger = await addUser(db)
  await assert.rejects(revokeSession(db, stranger, made[0]!.id), { code: 'NOT_FOUND' })
  await revokeSession(db, userId, made[0]!.id)
  assert.equal(await store.end(null, made[1]!.secretHash), made[1]!.id)
  assert.equal(await store.end(null, made[1]!.secretHash), undefined)
  assert.deepEqual((await listSessions(db, userId)).items.map(({ id }) => id).sort(), [made[2]!.id, made[3]!.id].sort())
  assert.equal(await revokeSessions(db, userId, made[2]!.id), 1)
  assert.deepEqual(
    (await listSessions(db, userId)).items.map(({ id }) => id),
    [made[2]!.id]
  )
  assert.equal(await revokeSessions(db, stranger), 0)
})
