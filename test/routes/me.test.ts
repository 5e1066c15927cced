import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { eq } from 'drizzle-orm'
import { auditLogs, idempotencyKeys } from '../../drizzle/schema.ts'
import { createToken } from '../../src/domain/accounts/tokens.ts'
import { errorOf, platform } from './support.ts'

const server = await platform({ after })
const { owner, stranger } = await server.addPeople()
const tokens = '/api/v1/me/tokens'

test('GET /me returns the caller', async () => {
  const { id, createdAt, ...me } = (await server.operator.call('GET', '/api/v1/me')).json()
  assert.deepEqual(me, { username: 'operator', email: null, avatarUrl: null, isOperator: true })
  assert.equal((await owner.call('GET', '/api/v1/me')).json().isOperator, false)
})

test('a new token is shown once, works immediately, and is listed without its secret', async () => {
  const response = await owner.call('POST', tokens, { name: ' ci ', scopes: ['read'] })
  assert.equal(response.statusCode, 201)
  const { token, ...told } = response.json()
  assert.match(token, /^rhone_/)
  assert.ok(token.startsWith(told.prefix))
  assert.deepEqual([told.name, told.scopes, told.expiresAt], ['ci', ['read'], null])

  assert.equal((await server.as(token, 'GET', '/api/v1/me')).json().id, owner.id)
  const list = await owner.call('GET', tokens)
  assert.ok(list.json().items.some((item: { id: string }) => item.id === told.id))
  assert.ok(!list.body.includes(token))
})

test('a token is limited to its scopes, and cannot create one with more', async () => {
  for (const scope of ['read', 'deploy'] as const) {
    const caller = await server.addCaller({ scopes: [scope] })
    assert.equal((await caller.call('GET', tokens)).statusCode, 200)
    const refused = errorOf(await caller.call('POST', tokens, { name: 'more', scopes: ['admin'] }))
    assert.deepEqual([refused.status, refused.code], [403, 'FORBIDDEN'])
  }
})

test('an expiring token cannot create one that outlives it', async () => {
  const end = new Date(Date.now() + 3_600_000)
  const { token } = await createToken(server.app.db, {
    userId: owner.id,
    name: 'short',
    scopes: ['admin'],
    expiresAt: end
  })
  const make = (expiresAt?: string) => server.as(token, 'POST', tokens, { name: 'x', scopes: ['read'], expiresAt })
  assert.match(String(errorOf(await make()).detail), /^expiresAt: /)
  assert.match(String(errorOf(await make(new Date(end.getTime() + 1).toISOString())).detail), /^expiresAt: /)
  const made = await make(end.toISOString())
  assert.deepEqual([made.statusCode, made.json().expiresAt], [201, end.toISOString()])
})

test('an expiry must be a time in the future', async () => {
  for (const expiresAt of [
    'tomorrow',
    '2020-01-01T00:00:00Z',
    '2099-02-31T25:00:00Z',
    '2099-12-31T23:59:60Z',
    '9999-12-31T23:59:59-14:00',
    4e12,
    null
  ]) {
    const { status, code, detail } = errorOf(
      await owner.call('POST', tokens, { name: 'x', scopes: ['read'], expiresAt })
    )
    assert.deepEqual([status, code], [400, 'VALIDATION_ERROR'], String(expiresAt))
    assert.match(String(detail), /^expiresAt: /)
  }
})

test('a repeated request creates no second token, and does not show the first again', async () => {
  const request = [tokens, { name: 'once', scopes: ['read'] }, { 'idempotency-key': 'token-1' }] as const
  const { token, ...first } = (await owner.call('POST', ...request)).json()
  const second = await owner.call('POST', ...request)
  assert.deepEqual([second.statusCode, second.json()], [201, first])
  const kept = [await server.app.db.select().from(idempotencyKeys), await server.app.db.select().from(auditLogs)]
  assert.ok(!JSON.stringify(kept).includes(token))
})

test('a revoked token is refused from the next request on, and only its owner can revoke it', async () => {
  const { id, token } = (await owner.call('POST', tokens, { name: 'doomed', scopes: ['read'] })).json()
  assert.equal((await server.as(token, 'GET', '/api/v1/me')).statusCode, 200)
  assert.equal((await stranger.call('DELETE', `${tokens}/${id}`)).statusCode, 404)
  assert.equal((await server.as(token, 'GET', '/api/v1/me')).statusCode, 200)

  assert.equal((await owner.call('DELETE', `${tokens}/${id}`)).statusCode, 204)
  assert.equal((await server.as(token, 'GET', '/api/v1/me')).statusCode, 401)
  assert.equal((await owner.call('DELETE', `${tokens}/${id}`)).statusCode, 404)
  assert.equal((await owner.call('DELETE', `${tokens}/not-a-uuid`)).statusCode, 400)

  const rows = await server.app.db.select().from(auditLogs).where(eq(auditLogs.resourceId, id))
  const successes = rows.filter(row => row.outcome === 'success')
  assert.deepEqual(successes.map(row => [row.eventType, row.action, row.userId]).toSorted(), [
    ['auth', 'create', owner.id],
    ['auth', 'revoke', owner.id]
  ])
})
