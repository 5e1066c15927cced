import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { eq, sql } from 'drizzle-orm'
import fc from 'fast-check'
import { apiTokens, sessions, teamInvitations, users } from '../../../drizzle/schema.ts'
import { exportPersonalData } from '../../../src/domain/privacy/personal-data.ts'
import { addTeam, addUser, openDatabase } from '../support.ts'

type Exported = Record<string, unknown[]> & { account: Record<string, unknown> }

async function exported(...given: Parameters<typeof exportPersonalData>): Promise<Exported> {
  return JSON.parse((await Array.fromAsync(exportPersonalData(...given))).join(''))
}

test('the export is one JSON object, for any user name and user agent', async t => {
  const db = await openDatabase(t)
  const userId = await addUser(db)
  const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 }).filter(made => !made.includes('\0'))
  await fc.assert(
    fc.asyncProperty(text, text, async (tokenName, userAgent) => {
      await db.delete(apiTokens)
      await db.delete(sessions)
      const soon = new Date(Date.now() + 60_000)
      await db
        .insert(apiTokens)
        .values({ userId, name: tokenName, tokenHash: randomBytes(32), prefix: 'rhone_abc', scopes: ['read'] })
      await db.insert(sessions).values({
        userId,
        secretHash: randomBytes(32),
        method: 'password',
        asOperator: false,
        userAgent,
        idleUntil: soon,
        expiresAt: soon
      })
      const { tokens, sessions: held } = await exported(db, userId)
      assert.equal((tokens![0] as { name: string }).name, tokenName)
      assert.equal((held![0] as { userAgent: string }).userAgent, userAgent)
    }),
    { numRuns: 30 }
  )
})

test('any number of rows is exported once, in batches', async t => {
  const db = await openDatabase(t)
  const userId = await addUser(db)
  await db.execute(sql`insert into api_tokens (user_id, name, token_hash, prefix, scopes)
    select ${userId}, 'n' || n, sha256(n::text::bytea), 'rhone_abc', '{read}' from generate_series(1, 1001) n`)
  const chunks = await Array.fromAsync(exportPersonalData(db, userId))
  const { tokens } = JSON.parse(chunks.join('')) as Exported
  assert.equal(new Set(tokens!.map(token => (token as { name: string }).name)).size, 1_001)
  assert.equal(tokens!.length, 1_001)
  assert.ok(chunks.length > 10, 'no chunk holds all of it')
})

test('it contains the user’s data, nothing of others, and no hash of a secret', async t => {
  const db = await openDatabase(t)
  const [mine, other] = [await addUser(db), await addUser(db)]
  await db.update(users).set({ email: 'Ada@example.com' }).where(eq(users.id, mine))
  const team = await addTeam(db, { [mine]: 'admin', [other]: 'owner' })
  const hidden = randomBytes(32)
  const invitation = (email: string, invitedBy: string) => ({
    teamId: team.id,
    email,
    role: 'member' as const,
    invitedBy,
    tokenHash: randomBytes(32),
    expiresAt: new Date(Date.now() + 60_000)
  })
  await db.insert(teamInvitations).values([invitation('ada@example.com', other), invitation('b@example.com', other)])
  for (const userId of [mine, other])
    await db.insert(apiTokens).values({
      userId,
      name: userId,
      tokenHash: userId === mine ? hidden : randomBytes(32),
      prefix: 'rhone_abc',
      scopes: ['read']
    })

  const found = await exported(db, mine)
  assert.deepEqual(
    found.tokens!.map(token => (token as { name: string }).name),
    [mine]
  )
  assert.deepEqual(
    found.invitations!.map(made => (made as { email: string }).email),
    ['ada@example.com']
  )
  assert.deepEqual(
    found.teams!.map(member => (member as { role: string }).role),
    ['admin']
  )
  const all = JSON.stringify(found)
  for (const form of ['hex', 'base64', 'base64url'] as const) assert.ok(!all.includes(hidden.toString(form)))
  assert.doesNotMatch(all, /hash/i)
})

test('an unknown user has nothing to export', async t => {
  const db = await openDatabase(t)
  await assert.rejects(exported(db, randomUUID()), { code: 'NOT_FOUND' })
})
