import assert from 'node:assert/strict'
import { createHmac, createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto'
import { describe, type TestContext, test } from 'node:test'
import Fastify from 'fastify'
import type { JSONWebKeySet } from 'jose'
import accessTokens, { type AccessTokensDeps, type AccessTokensOptions } from '../../plugins/access-tokens/index.ts'
import auth from '../../plugins/auth/index.ts'
import type { Principal } from '../../plugins/lib/principals.ts'
import { type Keyring, randomKeyring } from '../../plugins/lib/signer.ts'
import { setAhead, stopClock } from '../support/clock.ts'

const ISSUER = 'https://rhone.example.com'
const ADA: Principal = {
  userId: 'user-1',
  username: 'ada',
  isOperator: false,
  via: 'token',
  credentialId: 'token-1',
  scopes: ['deploy']
}

type Options = Partial<AccessTokensOptions>

async function setup(t: TestContext, options: Options = {}, deps: AccessTokensDeps = {}) {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(accessTokens, Object.freeze({ issuer: ISSUER, ...options, ...deps }))
  await app.register(auth, { sources: [app.accessTokens] })
  app.get('/me', { config: { teamTokens: true } }, request => request.principal)
  app.post('/deploy', { config: { access: 'member', scope: 'deploy' } }, () => 'ok')
  app.post('/admin', { config: { access: 'member' } }, () => 'ok')
  await app.ready()
  const mint = async (over: Partial<Principal> = {}) =>
    (await app.accessTokens.mint({ ...ADA, ...over }, ['deploy'])).accessToken
  const get = (token: string, url = '/me', method: 'GET' | 'POST' = 'GET') =>
    app.inject({ method, url, headers: { authorization: `Bearer ${token}` } })
  const jwks = async () => (await app.inject('/.well-known/jwks.json')).json() as JSONWebKeySet
  return { app, mint, get, jwks }
}

/** Notifications of the database, sent by the test. */
function changeFeed() {
  const feed = { change: (_id: string) => {}, live: () => {}, gap: () => {}, alive: (_at: number) => {} }
  const changes: AccessTokensDeps['changes'] = async (change, live, gap, alive) => {
    Object.assign(feed, { change, live, gap, alive })
    return async () => {}
  }
  return { feed, changes }
}

const encode = (value: object | string) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
const partsOf = (token: string) => token.split('.').map(part => Buffer.from(part, 'base64url').toString())
const claimsIn = (token: string) => JSON.parse(partsOf(token)[1]!)

describe('an access token', () => {
  test('authenticates its caller, with the scopes it was minted with', async t => {
    const { mint, get } = await setup(t)
    const token = await mint({ teamId: 'team-1' })
    const { expiresAt, ...principal } = (await get(token)).json()
    assert.deepEqual(principal, { ...ADA, via: 'access-token', teamId: 'team-1' })
    assert.ok(Math.abs(Date.parse(expiresAt) - Date.now() - 900_000) < 5_000)
    assert.equal((await get(token, '/deploy', 'POST')).statusCode, 200)
    assert.equal((await get(token, '/admin', 'POST')).statusCode, 403)
  })

  test('is a JWT of RFC 9068, which anybody can verify through the published keys', async t => {
    const { mint, jwks } = await setup(t)
    const token = await mint()
    const [head, payload, signature] = token.split('.') as [string, string, string]
    const { keys } = await jwks()
    const { kid, ...header } = JSON.parse(partsOf(token)[0]!)
    assert.deepEqual(header, { alg: 'EdDSA', typ: 'at+jwt' })
    const key = createPublicKey({ key: keys.find(published => published.kid === kid)!, format: 'jwk' })
    assert.ok(verify(null, Buffer.from(`${head}.${payload}`), key, Buffer.from(signature, 'base64url')))
    const { iss, aud, sub } = claimsIn(token)
    assert.deepEqual({ iss, aud, sub }, { iss: ISSUER, aud: ISSUER, sub: 'user-1' })
    for (const key of (await jwks()).keys) assert.ok(!('d' in key), 'no private half is published')
  })

  test('ends with its lifetime, or with the API token it was minted from', async t => {
    const { mint, get } = await setup(t, { lifetime: 60 })
    const token = await mint()
    assert.equal((await get(token)).statusCode, 200)
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 61_000 })
    assert.equal((await get(token)).statusCode, 401, 'from memory, too')
    t.mock.timers.reset()
    const { exp } = claimsIn(await (await setup(t)).mint({ expiresAt: new Date(Date.now() + 60_000) }))
    assert.ok(exp <= Date.now() / 1_000 + 60)
  })

  test('outlives the rotation of keys, until its key leaves the ring', async t => {
    const old = randomKeyring()
    const fresh = { id: 'fresh', key: randomKeyring().current.key }
    const overlapping: Keyring = { current: fresh, keys: new Map([[fresh.id, fresh.key], ...old.keys]) }
    const [before, during, after] = [
      await setup(t, {}, { keys: old }),
      await setup(t, {}, { keys: overlapping }),
      await setup(t, {}, { keys: { current: fresh, keys: new Map([[fresh.id, fresh.key]]) } })
    ]
    const token = await before.mint()
    assert.equal((await during.get(token)).statusCode, 200)
    assert.equal((await after.get(token)).statusCode, 401)
    assert.equal((await before.get(await during.mint())).statusCode, 401)
    assert.deepEqual(
      (await during.jwks()).keys.map(key => key.kid),
      ['fresh', old.current.id]
    )
  })
})

describe('a forgery', () => {
  test('with another algorithm is refused, even one that uses our public key as a secret', async t => {
    const { mint, get, jwks } = await setup(t)
    const token = await mint()
    const payload = token.split('.')[1]!
    const [jwk] = (await jwks()).keys
    const publicKey = createPublicKey({ key: jwk as never, format: 'jwk' })
    const secrets = [
      publicKey.export({ format: 'pem', type: 'spki' }),
      publicKey.export({ format: 'der', type: 'spki' }),
      Buffer.from(jwk!.x as string, 'base64url'),
      jwk!.x as string
    ]
    for (const alg of ['HS256', 'HS512', 'none', 'None', 'EdDSA', 'eddsa', 'Ed25519', 'ES256', 'RS256', ''])
      for (const secret of secrets) {
        const signed = `${encode({ alg, typ: 'at+jwt', kid: jwk!.kid })}.${payload}`
        const mac = createHmac(alg === 'HS512' ? 'sha512' : 'sha256', secret)
          .update(signed)
          .digest('base64url')
        for (const signature of [mac, '', mac.padEnd(86, 'A')])
          assert.equal((await get(`${signed}.${signature}`)).statusCode, 401, `${alg} ${signature.length}`)
      }
  })

  test('that names or contains its own key is refused', async t => {
    const { mint, get } = await setup(t)
    const token = await mint()
    const payload = token.split('.')[1]!
    const { kid } = JSON.parse(partsOf(token)[0]!)
    const own = generateKeyPairSync('ed25519')
    const jwk = own.publicKey.export({ format: 'jwk' })
    for (const more of [
      {},
      { kid },
      { kid: '../../../dev/null' },
      { kid: "x' union select 'a" },
      { kid: [kid] },
      { kid: { toString: kid } },
      { kid: '__proto__' },
      { kid: 'constructor' },
      { kid, jwk },
      { kid, jku: 'https://evil.example/jwks.json' },
      { kid, x5u: 'https://evil.example/cert' },
      { kid, crit: ['b64'], b64: false }
    ]) {
      const signed = `${encode({ alg: 'EdDSA', typ: 'at+jwt', ...more })}.${payload}`
      const signature = sign(null, Buffer.from(signed), own.privateKey).toString('base64url')
      assert.equal((await get(`${signed}.${signature}`)).statusCode, 401, JSON.stringify(more))
    }
  })

  test('of the claims or the type, or for another server, is refused', async t => {
    const keys = randomKeyring()
    const { mint, get } = await setup(t, {}, { keys })
    const token = await mint()
    const [header, payload, signature] = token.split('.') as [string, string, string]
    const widened = encode({ ...claimsIn(token), scope: 'admin', operator: true })
    assert.equal((await get(`${header}.${widened}.${signature}`)).statusCode, 401)
    assert.equal(
      (await get(`${header}.${payload}.${signature.replace(/^./, c => (c === 'A' ? 'B' : 'A'))}`)).statusCode,
      401
    )
    for (const wrong of [
      `${header}.${payload}`,
      `${header}.${payload}.`,
      `.${payload}.${signature}`,
      `${token}.x`,
      '..'
    ])
      assert.equal((await get(wrong)).statusCode, 401, wrong)

    const elsewhere = await setup(t, { issuer: 'https://other.example.com' }, { keys })
    assert.equal((await get(await elsewhere.mint())).statusCode, 401)
  })

  test('in the query or in a cookie is ignored', async t => {
    const { app, mint } = await setup(t)
    const token = await mint()
    for (const url of [`/me?access_token=${token}`, `/me?token=${token}`])
      assert.equal((await app.inject(url)).statusCode, 401)
    assert.equal((await app.inject({ url: '/me', headers: { cookie: `access_token=${token}` } })).statusCode, 401)
  })
})

describe('a change after a token was minted', () => {
  /** Tokens minted within the tolerance for clock skew are always looked up, so the tests step out of it. */
  async function live(t: TestContext, check: NonNullable<AccessTokensDeps['check']>) {
    const { feed, changes } = changeFeed()
    const server = await setup(t, { ttl: 40 }, { check, changes })
    setAhead(t, Date, -120_000)
    feed.live()
    setAhead(t, Date, 120_000)
    return { ...server, feed }
  }

  test('is not looked up while there are no notifications', async t => {
    let asked = 0
    const { mint, get } = await live(t, async () => {
      asked++
      return ADA
    })
    for (let i = 0; i < 3; i++) assert.equal((await get(await mint())).statusCode, 200)
    assert.equal(asked, 0)
  })

  test('ends it immediately if its API token or user was deleted', async t => {
    for (const changed of ['token-1', 'user-1']) {
      let current: Principal | null = ADA
      let asked = 0
      const { mint, get, feed } = await live(t, async () => {
        asked++
        return current
      })
      const token = await mint()
      assert.equal((await get(token)).statusCode, 200)
      feed.change('somebody else')
      assert.equal((await get(token)).statusCode, 200)
      assert.equal(asked, 0)
      current = null
      feed.change(changed)
      assert.equal((await get(token)).statusCode, 401)
      assert.equal((await get(token)).statusCode, 401)
      assert.equal(asked, 1, 'the answer is used until the next change')
    }
  })

  test('grants and revokes operator rights', async t => {
    let isOperator = true
    const { app, mint, get, feed } = await live(t, async () => ({ ...ADA, isOperator }))
    const token = await mint()
    assert.equal((await get(token)).json().isOperator, false)
    feed.change('user-1')
    assert.equal((await get(token)).json().isOperator, true)
    isOperator = false
    app.auth.forget('user-1')
    assert.equal((await get(token)).json().isOperator, false)
  })

  test('is looked up repeatedly while notifications are down, and the reply is 503 if that fails', async t => {
    let isAway = false
    let asked = 0
    const { mint, get, feed } = await live(t, async () => {
      asked++
      if (isAway) throw new Error('away')
      return ADA
    })
    const token = await mint()
    feed.gap()
    assert.equal((await get(token)).statusCode, 200)
    assert.equal((await get(token)).statusCode, 200)
    assert.equal(asked, 1)
    setAhead(t, performance, 60)
    isAway = true
    assert.equal((await get(token)).statusCode, 503)
  })

  test('is looked up again after notifications were silent for too long, as in a suspended process', async t => {
    let current: Principal | null = ADA
    let asked = 0
    const { mint, get, feed } = await live(t, async () => {
      asked++
      return current
    })
    const token = await mint()
    stopClock(t, performance)
    feed.alive(performance.now() - 20)
    assert.equal((await get(token)).statusCode, 200)
    assert.equal(asked, 0)
    setAhead(t, performance, 30)
    current = null
    assert.equal((await get(token)).statusCode, 401)
    assert.equal(asked, 1)
  })

  test('is measured with the monotonic clock', async t => {
    let current: Principal | null = ADA
    const { mint, get, feed } = await live(t, async () => current)
    const token = await mint()
    feed.gap()
    assert.equal((await get(token)).statusCode, 200)
    current = null
    setAhead(t, performance, 60)
    setAhead(t, Date, -10_000)
    assert.equal((await get(token)).statusCode, 401)
  })

  test('is looked up once before this process receives changes', async t => {
    let asked = 0
    const { feed, changes } = changeFeed()
    const check = async () => {
      asked++
      return ADA
    }
    const { mint, get } = await setup(t, { ttl: 0 }, { check, changes })
    const token = await mint()
    feed.live()
    for (let i = 0; i < 3; i++) assert.equal((await get(token)).statusCode, 200)
    assert.equal(asked, 1)
  })
})

test('a wrong option fails the boot', async () => {
  const boot = async (options: object) => Fastify().register(accessTokens, options)
  await assert.rejects(boot({ lifetime: 901 }), /rhone-access-tokens: option "lifetime"/)
  await assert.rejects(boot({ algorithm: 'none' }), /rhone-access-tokens: unknown option "algorithm"/)
})
