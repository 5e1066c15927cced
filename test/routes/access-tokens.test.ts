import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { eq } from 'drizzle-orm'
import { auditLogs, idempotencyKeys } from '../../drizzle/schema.ts'
import { buildApp } from '../../src/app.ts'
import { grantOperator, revokeOperator } from '../../src/domain/accounts/operators.ts'
import { createToken, findTokenById, revokeToken } from '../../src/domain/accounts/tokens.ts'
import { addTeam, auditLog } from '../domain/support.ts'
import { eventually } from '../support/eventually.ts'
import { errorOf, platform } from './support.ts'

// Shedding is off: the load of the test machine must not affect tokens.
const server = await platform({ after })
const { app, config } = server
const { owner } = await server.addPeople()
const MINT = '/api/v1/auth/token'

/** Another instance of the same server: the same database, the same keys. */
const second = await buildApp(config, { pressure: false })
after(() => second.close())
await second.ready()
await second.startup.completed

const mint = async (token: string, body: object = {}) => server.as(token, 'POST', MINT, body)
const minted = async (token: string, body?: object): Promise<string> => (await mint(token, body)).json().accessToken
const statusOn = async (instance: typeof app, accessToken: string, url = '/api/v1/me') =>
  (await instance.inject({ url, headers: { authorization: `Bearer ${accessToken}` } })).statusCode
const apiToken = (scopes: ('read' | 'deploy' | 'admin')[], over = {}) =>
  createToken(app.db, { userId: owner.id, name: 'ci', scopes, ...over })

describe('an access token', () => {
  test('is minted from an API token, with its scopes or fewer, and is accepted by every instance', async () => {
    const { token, id } = await apiToken(['deploy'])
    const reply = await mint(token)
    assert.equal(reply.statusCode, 201)
    const { accessToken, expiresAt, ...told } = reply.json()
    assert.deepEqual(told, { tokenType: 'Bearer', scopes: ['deploy'] })
    assert.ok(Math.abs(Date.parse(expiresAt) - Date.now() - 900_000) < 5_000)
    assert.equal(await statusOn(app, accessToken), 200)
    assert.equal(await statusOn(second, accessToken), 200)

    const narrow = await minted(token, { scopes: ['read'] })
    assert.equal((await server.as(narrow, 'POST', '/api/v1/apps', { name: 'x' })).statusCode, 403)
    assert.deepEqual(errorOf(await mint(token, { scopes: ['admin'] })).status, 403)
    const rows = await app.db.select().from(auditLogs).where(eq(auditLogs.resourceId, id))
    assert.ok(rows.some(row => row.action === 'mint' && row.outcome === 'success'))
  })

  test('is minted without a body, too', async () => {
    const { token } = await apiToken(['read'])
    const reply = await server.as(token, 'POST', MINT)
    assert.equal(reply.statusCode, 201)
    assert.deepEqual(reply.json().scopes, ['read'])
  })

  test('mints no other one, and is stored nowhere', async () => {
    const accessToken = await minted((await apiToken(['admin'])).token)
    assert.equal((await mint(accessToken)).statusCode, 403)
    const kept = [await app.db.select().from(auditLogs), await app.db.select().from(idempotencyKeys)]
    assert.ok(!JSON.stringify(kept).includes(accessToken.split('.')[2]!))
  })

  test('creates only API tokens that expire with it at the latest', async () => {
    const accessToken = await minted((await apiToken(['admin'])).token)
    const make = (expiresAt?: string) =>
      server.as(accessToken, 'POST', '/api/v1/me/tokens', { name: 'x', scopes: ['read'], expiresAt })
    assert.equal((await make()).statusCode, 400)
    assert.equal((await make(new Date(Date.now() + 60_000).toISOString())).statusCode, 201)
  })

  test('is refused by every instance soon after the revocation of its API token', async () => {
    const { token, id } = await apiToken(['admin'])
    const accessToken = await minted(token)
    for (const instance of [app, second]) assert.equal(await statusOn(instance, accessToken), 200)
    await revokeToken(app.db, owner.id, id)
    for (const instance of [app, second])
      assert.equal(
        await eventually(
          () => statusOn(instance, accessToken),
          status => status === 401
        ),
        401
      )
    assert.equal(await findTokenById(app.db, id), null)
  })

  test('has operator rights as long as its user does', async () => {
    const caller = await server.addCaller()
    const accessToken = await minted(caller.token)
    assert.equal(await statusOn(second, accessToken, '/admin/stats'), 403)
    await grantOperator(app.db, auditLog, caller.id, { name: 'test' })
    const isOpen = () => statusOn(second, accessToken, '/admin/stats')
    assert.equal(await eventually(isOpen, status => status === 200), 200)
    await revokeOperator(app.db, auditLog, caller.id, { name: 'test' })
    assert.equal(await eventually(isOpen, status => status === 403), 403)
  })

  test('can be verified with the public keys', async () => {
    const reply = await app.inject('/.well-known/jwks.json')
    assert.equal(reply.headers['cache-control'], 'public, max-age=300')
    assert.deepEqual(reply.json(), (await second.inject('/.well-known/jwks.json')).json())
    for (const key of reply.json().keys)
      assert.deepEqual(Object.keys(key).sort(), ['alg', 'crv', 'kid', 'kty', 'use', 'x'])
  })
})

describe('a token that is restricted to one team', () => {
  test('reaches that team and its apps, and nothing else', async () => {
    const caller = await server.addCaller()
    const [mine, other] = [
      await addTeam(app.db, { [caller.id]: 'owner' }),
      await addTeam(app.db, { [caller.id]: 'owner' })
    ]
    const elsewhere = (await caller.call('POST', '/api/v1/apps', { name: 'elsewhere', team: other.id })).json()
    const made = await caller.call('POST', '/api/v1/me/tokens', { name: 'ci', scopes: ['admin'], team: mine.slug })
    assert.equal(made.json().teamId, mine.id)
    const tokens = [made.json().token, await minted(made.json().token)]

    for (const token of tokens) {
      const call = (method: string, url: string, body?: object) => server.as(token, method, url, body)
      const created = await call('POST', '/api/v1/apps', { name: 'here' })
      assert.deepEqual([created.statusCode, created.json().teamId], [201, mine.id])
      const seen = (await call('GET', '/api/v1/apps')).json().items as { teamId: string }[]
      assert.deepEqual(new Set(seen.map(item => item.teamId)), new Set([mine.id]))
      const refusals: [string, string, object | undefined, number][] = [
        ['GET', `/api/v1/teams/${other.id}`, undefined, 404],
        ['GET', `/api/v1/apps?team=${other.slug}`, undefined, 404],
        ['GET', `/api/v1/apps/${elsewhere.id}`, undefined, 404],
        ['GET', `/api/v1/apps/${elsewhere.slug}/env`, undefined, 404],
        ['DELETE', `/api/v1/apps/${elsewhere.id}`, undefined, 404],
        ['POST', '/api/v1/apps', { name: 'x', team: other.id }, 404],
        ['POST', '/api/v1/me/tokens', { name: 'wider', scopes: ['admin'] }, 403],
        ['GET', '/api/v1/me/tokens', undefined, 403],
        ['DELETE', '/api/v1/me/sessions', undefined, 403]
      ]
      for (const [method, url, body, status] of refusals)
        assert.equal((await call(method, url, body)).statusCode, status, `${method} ${url}`)
      assert.equal((await call('GET', `/api/v1/teams/${mine.id}`)).statusCode, 200)
      assert.equal((await call('GET', '/api/v1/me')).statusCode, 200)
    }
  })

  test('cannot be created for a team of others', async () => {
    const stranger = await server.addCaller()
    const team = await addTeam(app.db, { [owner.id]: 'owner' })
    const made = await stranger.call('POST', '/api/v1/me/tokens', { name: 'x', scopes: ['read'], team: team.id })
    assert.equal(made.statusCode, 404)
  })
})

test('the time to refuse a token does not reveal how much of it is right', async () => {
  const { token } = await apiToken(['read'])
  const nearly = token.slice(0, -1) + (token.endsWith('0') ? '1' : '0')
  const far = `rhone_${'0'.repeat(38)}`
  const times: Record<string, number[]> = { nearly: [], far: [] }
  for (let round = 0; round < 300; round++)
    for (const [name, wrong] of Object.entries({ nearly, far })) {
      const start = performance.now()
      await server.as(wrong, 'GET', '/api/v1/me')
      times[name]!.push(performance.now() - start)
    }
  // The fastest of each: other load only adds time.
  const ratio = Math.min(...times.nearly!) / Math.min(...times.far!)
  assert.ok(ratio > 0.5 && ratio < 2, `${ratio}`)
})

test('a token in the query is ignored', async () => {
  const { token } = await apiToken(['read'])
  for (const name of ['access_token', 'token', 'authorization'])
    assert.equal((await app.inject(`/api/v1/ping?${name}=${token}`)).statusCode, 400)
  assert.equal((await app.inject(`/api/v1/me?access_token=${token}`)).statusCode, 401)
})
