import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { describe, type TestContext, test } from 'node:test'
import { eq, sql } from 'drizzle-orm'
import Fastify, { type FastifyInstance } from 'fastify'
import { apiTokens, auditLogs, users } from '../../../drizzle/schema.ts'
import auth from '../../../plugins/auth/index.ts'
import database from '../../../plugins/database/index.ts'
import { hashToken } from '../../../plugins/lib/token.ts'
import {
  AUTH_CHANNEL,
  announce,
  createToken,
  listTokens,
  revokeToken,
  tokenVerifier,
  touchTokens
} from '../../../src/domain/accounts/tokens.ts'
import { stopClock } from '../../support/clock.ts'
import { databaseOf, freshDatabase, terminateBackends, withCluster } from '../../support/database.ts'
import { eventually } from '../../support/eventually.ts'
import { stays } from '../../support/stays.ts'
import { auditLog } from '../support.ts'

/** A server with tokens from its database and notifications, wired like the real one. */
async function instance(t: TestContext, url: string): Promise<FastifyInstance> {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(database, { url, poolMax: 3, queueTimeout: 10_000 })
  const { promise: listening, resolve } = Promise.withResolvers<void>()
  await app.register(auth, {
    verifier: tokenVerifier(() => app.db),
    touch: ids => touchTokens(app.db, auditLog, ids),
    changes: (onChange, onGap) =>
      app.postgres.listen(AUTH_CHANNEL, onChange, () => {
        onGap()
        resolve()
      })
  })
  app.get('/me', { config: { access: 'authenticated' } }, request => request.principal)
  app.get('/admin', { config: { access: 'operator' } }, () => 'ok')
  await listening
  return app
}

async function setup(t: TestContext) {
  const url = await freshDatabase(t)
  const app = await instance(t, url)
  const [ada, bob] = await app.db
    .insert(users)
    .values([{ username: 'ada' }, { username: 'bob' }])
    .returning()
  return { url, app, db: app.db, ada: ada?.id as string, bob: bob?.id as string }
}

const get = (app: FastifyInstance, token: string, url = '/me') =>
  app.inject({ url, headers: { authorization: `Bearer ${token}` } })

const isNotFound = { code: 'NOT_FOUND' }

describe('a new token', () => {
  test('works at once, over HTTP', async t => {
    const { app, db, ada } = await setup(t)
    const { token, id } = await createToken(db, { userId: ada, name: 'ci', scopes: ['read', 'deploy'] })
    const reply = await get(app, token)
    assert.equal(reply.statusCode, 200)
    assert.deepEqual(reply.json(), {
      userId: ada,
      username: 'ada',
      isOperator: false,
      via: 'token',
      credentialId: id,
      scopes: ['read', 'deploy']
    })
  })

  test('is stored only as its hash', async t => {
    const { db, ada } = await setup(t)
    const { token, prefix } = await createToken(db, { userId: ada, name: 'ci', scopes: ['read'] })
    const [row] = await db.execute<{ text: string; hash: Buffer }>(
      sql`select api_tokens::text as text, token_hash as hash from api_tokens`
    )
    assert.ok(!row?.text.includes(token.slice(prefix.length)))
    assert.deepEqual(row?.hash, hashToken(token))
    assert.equal(prefix, token.slice(0, 12))
  })

  test('cannot be already expired', async t => {
    const { db, ada } = await setup(t)
    for (const expiresAt of [new Date(Date.now() - 1), new Date(Number.NaN)])
      await assert.rejects(createToken(db, { userId: ada, name: 'ci', scopes: ['read'], expiresAt }), {
        code: 'VALIDATION_ERROR'
      })
  })
})

describe('the end of a token', () => {
  test('by its time', async t => {
    const { app, db, ada } = await setup(t)
    const expiresAt = new Date(Date.now() + 3_600_000)
    const { token } = await createToken(db, { userId: ada, name: 'ci', scopes: ['read'], expiresAt })
    assert.equal((await get(app, token)).statusCode, 200)
    const { now } = Date
    const clock = t.mock.method(Date, 'now', () => now() + 3_600_000)
    assert.equal((await get(app, token)).statusCode, 401)
    clock.mock.restore()
    await db.execute(sql`update api_tokens set expires_at = now()`)
    app.auth.forget()
    assert.equal((await get(app, token)).statusCode, 401, 'by the database, too')
  })

  test('by revocation takes effect on every instance immediately, even for a cached token', async t => {
    const { url, app, db, ada } = await setup(t)
    const other = await instance(t, url)
    const { token, id } = await createToken(db, { userId: ada, name: 'ci', scopes: ['read'] })
    for (const each of [app, other]) assert.equal((await get(each, token)).statusCode, 200)
    stopClock(t, performance) // so that memory does not read again by itself
    await db.transaction(tx => revokeToken(tx, ada, id))
    await eventually(async () => (await get(other, token)).statusCode !== 200)
    await eventually(async () => (await get(app, token)).statusCode !== 200)
  })

  test('by revocation is undone if the transaction fails', async t => {
    const { app, db, ada } = await setup(t)
    const { token, id } = await createToken(db, { userId: ada, name: 'ci', scopes: ['read'] })
    const revokeAndFail = db.transaction(async tx => {
      await revokeToken(tx, ada, id)
      throw new Error('no')
    })
    await assert.rejects(revokeAndFail, /no/)
    app.auth.forget()
    assert.equal((await get(app, token)).statusCode, 200)
  })

  test('is up to its owner: tokens of others and unknown ones are not found', async t => {
    const { app, db, ada, bob } = await setup(t)
    const { token, id } = await createToken(db, { userId: ada, name: 'ci', scopes: ['read'] })
    await assert.rejects(revokeToken(db, bob, id), isNotFound)
    await assert.rejects(revokeToken(db, ada, randomUUID()), isNotFound)
    assert.equal((await get(app, token)).statusCode, 200)
    await revokeToken(db, ada, id)
    await assert.rejects(revokeToken(db, ada, id), isNotFound)
  })

  test('ends with the account of its user', async t => {
    const { app, db, ada } = await setup(t)
    const { token } = await createToken(db, { userId: ada, name: 'ci', scopes: ['read'] })
    await get(app, token)
    await db.transaction(async tx => {
      await tx.delete(users).where(eq(users.id, ada))
      await announce(tx, ada)
    })
    await eventually(async () => (await get(app, token)).statusCode !== 200)
    assert.equal((await get(app, token)).statusCode, 401)
  })
})

test('while the database is down, a cached token is accepted and others get 503', async t => {
  const { url, app, db, ada } = await setup(t)
  const known = await createToken(db, { userId: ada, name: 'known', scopes: ['read'] })
  const other = await createToken(db, { userId: ada, name: 'other', scopes: ['read'] })
  await get(app, known.token)
  await withCluster(cluster => cluster`alter database ${cluster(databaseOf(url))} allow_connections false`)
  await terminateBackends(url)
  await stays(async () => (await get(app, known.token)).statusCode === 200, 100)
  assert.equal((await get(app, other.token)).statusCode, 503)
})

describe('a list of tokens', () => {
  test("contains the user's own tokens, newest first, without revoked ones, page by page", async t => {
    const { db, ada, bob } = await setup(t)
    const ids: string[] = []
    for (let i = 0; i < 5; i++)
      ids.unshift((await createToken(db, { userId: ada, name: `t${i}`, scopes: ['read'] })).id)
    await createToken(db, { userId: bob, name: 'his', scopes: ['read'] })
    await revokeToken(db, ada, ids[2] as string)
    const first = await listTokens(db, ada, { limit: 3 })
    const second = await listTokens(db, ada, { limit: 3, cursor: first.nextCursor ?? '' })
    assert.deepEqual(
      [...first.items, ...second.items].map(item => item.id),
      ids.filter((_, i) => i !== 2)
    )
    assert.equal(second.nextCursor, null)
    assert.ok(!('tokenHash' in (first.items[0] as object)))
  })
})

describe('the last use', () => {
  const usedAt = async (app: FastifyInstance, id: string) =>
    (await app.db.select({ at: apiTokens.lastUsedAt }).from(apiTokens).where(eq(apiTokens.id, id)))[0]?.at

  test('is written when the server stops, at the latest', async t => {
    const { url, app, db, ada } = await setup(t)
    const { token, id } = await createToken(db, { userId: ada, name: 'ci', scopes: ['read'] })
    const other = await instance(t, url)
    await get(other, token)
    assert.equal(await usedAt(app, id), null)
    await other.close()
    assert.ok((await usedAt(app, id)) instanceof Date)
  })

  test('is written at most once a minute by all instances', async t => {
    const { app, db, ada } = await setup(t)
    const { id } = await createToken(db, { userId: ada, name: 'ci', scopes: ['read'] })
    await touchTokens(db, auditLog, [{ tokenId: id, address: '198.51.100.7', bucket: '198.51.100.7' }])
    const first = await usedAt(app, id)
    await touchTokens(db, auditLog, [{ tokenId: id, address: '198.51.100.7', bucket: '198.51.100.7' }])
    assert.deepEqual(await usedAt(app, id), first)
    await db.update(apiTokens).set({ lastUsedAt: new Date(Date.now() - 60_000) })
    await touchTokens(db, auditLog, [{ tokenId: id, address: '198.51.100.7', bucket: '198.51.100.7' }])
    assert.ok(((await usedAt(app, id)) as Date) >= (first as Date))
  })

  test('from a new address is audited once, and the last address is stored', async t => {
    const { db, ada } = await setup(t)
    const { id } = await createToken(db, { userId: ada, name: 'ci', scopes: ['read'] })
    const from = (address: string, bucket = address) => touchTokens(db, auditLog, [{ tokenId: id, address, bucket }])
    await from('198.51.100.7')
    await from('198.51.100.7')
    await from('2001:db8::1', '2001:db8::/64')
    await from('2001:db8::2', '2001:db8::/64')
    const rows = await db.select().from(auditLogs).where(eq(auditLogs.resourceId, id))
    const events = rows.filter(row => row.action === 'use_from_new_address')
    assert.deepEqual(events.map(row => [row.userId, row.ip]).sort(), [
      [ada, '198.51.100.7'],
      [ada, '2001:db8::1']
    ])
    const { items } = await listTokens(db, ada)
    assert.equal(items.find(token => token.id === id)?.lastUsedFrom, '198.51.100.7')
  })

  test('of a token deleted meanwhile does no harm', async t => {
    const { db } = await setup(t)
    await touchTokens(db, auditLog, [{ tokenId: randomUUID(), address: '198.51.100.7', bucket: '198.51.100.7' }])
  })
})
