import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eq } from 'drizzle-orm'
import { users } from '../../../drizzle/schema.ts'
import { findHomeTeam, isOperatorTeam, listTeams } from '../../../src/domain/teams/teams.ts'
import { addTeam, addUser, openDatabase } from '../support.ts'

test('lists the teams that a user is in, newest first, page by page, with the role in each', async t => {
  const db = await openDatabase(t)
  const [user, other] = [await addUser(db), await addUser(db)]
  await addTeam(db, { [user]: 'owner' }, 'first')
  await addTeam(db, { [other]: 'owner' }, 'foreign')
  await addTeam(db, { [user]: 'member', [other]: 'owner' }, 'second')

  const page = await listTeams(db, user, { limit: 1 })
  assert.deepEqual(
    page.items.map(team => [team.slug, team.role]),
    [['second', 'member']]
  )
  const next = await listTeams(db, user, { limit: 1, cursor: page.nextCursor! })
  assert.deepEqual(
    next.items.map(team => [team.slug, team.role]),
    [['first', 'owner']]
  )
  assert.equal(next.nextCursor, null)
})

test('the home team of a user is the personal one, else the oldest owned one, else the oldest', async t => {
  const db = await openDatabase(t)
  const user = await addUser(db, 'Ada')
  await assert.rejects(findHomeTeam(db, user), { code: 'VALIDATION_ERROR', detail: /team/ })
  const home = async () => (await findHomeTeam(db, user)).id

  const joined = await addTeam(db, { [user]: 'member' })
  assert.equal(await home(), joined.id)
  const owned = await addTeam(db, { [user]: 'owner' })
  await addTeam(db, { [user]: 'owner' })
  assert.equal(await home(), owned.id)
  const personal = await addTeam(db, { [user]: 'owner' }, 'ada')
  assert.equal(await home(), personal.id)
})

test('a team is an operator team only while all its members are operators', async t => {
  const db = await openDatabase(t)
  const [operator, user] = [await addUser(db), await addUser(db)]
  await db.update(users).set({ isAdmin: true }).where(eq(users.id, operator))
  const isOf = async (members: Parameters<typeof addTeam>[1]) => isOperatorTeam(db, (await addTeam(db, members)).id)
  assert.equal(await isOf({ [operator]: 'owner' }), true)
  assert.equal(await isOf({ [operator]: 'owner', [user]: 'member' }), false)
  assert.equal(await isOf({ [user]: 'owner' }), false)
  assert.equal(await isOf({}), false)
})
