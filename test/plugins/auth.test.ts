import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { Registry } from '@platformatic/prom-client'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Scope } from '../../drizzle/schema.ts'
import auth, { type AuthDeps, type AuthOptions, type Principal } from '../../plugins/auth/index.ts'
import { hashToken, isWellFormedToken, mintToken, tokenPrefix } from '../../plugins/lib/token.ts'
import { setAhead } from '../support/clock.ts'
import { eventually } from '../support/eventually.ts'
import { exchange, listen } from '../support/raw-http.ts'

/** Tokens and their owners; counts lookups, and can be made unavailable. */
class FakeTokens {
  readonly #principals = new Map<string, Principal>()
  lookUps = 0
  isAway = false
  /** Holds every look-up back until it resolves. */
  gate: Promise<void> = Promise.resolve()

  issue(scopes: Scope[] = ['admin'], over: Partial<Principal> = {}): string {
    const token = mintToken()
    const credentialId = `token-${this.#principals.size}`
    const base = { userId: 'user-1', username: 'ada', isOperator: false, via: 'token', credentialId, scopes } as const
    const principal = { ...base, ...over }
    this.#principals.set(hashToken(token).toString('hex'), principal)
    return token
  }

  revoke(token: string): void {
    this.#principals.delete(hashToken(token).toString('hex'))
  }

  async verify(hash: Buffer): Promise<Principal | null> {
    this.lookUps++
    if (this.isAway) throw new Error('connection refused')
    const found = this.#principals.get(hash.toString('hex')) ?? null
    await this.gate
    return found
  }
}

interface Setup {
  app: FastifyInstance
  tokens: FakeTokens
  get: (url: string, token?: string) => Promise<{ statusCode: number; headers: Record<string, unknown>; body: string }>
}

async function setup(t: TestContext, options: Partial<AuthOptions> = {}, deps: AuthDeps = {}): Promise<Setup> {
  const tokens = new FakeTokens()
  const app = Fastify()
  t.after(() => app.close())
  await app.register(auth, Object.freeze({ verifier: tokens, ...options, ...deps }))
  app.get('/public', { config: { access: 'public' } }, request => ({ name: request.principal?.username ?? null }))
  app.get('/members', { config: { access: 'member' } }, request => ({ name: request.principal?.username }))
  app.get('/silent', () => 'ok')
  app.get('/admin', { config: { access: 'operator' } }, () => 'ok')
  app.get('/admin/read', { config: { access: 'operator', scope: 'read' } }, () => 'ok')
  app.post('/members', { config: { access: 'member' } }, () => 'ok')
  app.post('/deploy', { config: { access: 'member', scope: 'deploy' } }, () => 'ok')
  const get: Setup['get'] = (url, token) => {
    const [method, path] = url.includes(' ') ? (url.split(' ') as ['POST', string]) : (['GET', url] as const)
    return app.inject({ method, url: path, headers: token === undefined ? {} : { authorization: `Bearer ${token}` } })
  }
  return { app, tokens, get }
}

async function boot(options: object): Promise<void> {
  const app = Fastify()
  app.register(auth, options)
  await app.ready()
  await app.close()
}

describe('a token', () => {
  test('is distinguished from a mistyped one without a look-up', () => {
    const token = mintToken()
    assert.match(token, /^rhone_[0-9A-Za-z]{38}$/)
    assert.equal(isWellFormedToken(token), true)
    for (let i = 0; i < token.length; i++) {
      const wrong = token.slice(0, i) + (token[i] === 'x' ? 'y' : 'x') + token.slice(i + 1)
      assert.equal(isWellFormedToken(wrong), false, `mistyped at ${i}`)
    }
    for (const wrong of ['', 'rhone_', token.slice(0, -1), `${token}0`, ` ${token}`, `${token}\n`])
      assert.equal(isWellFormedToken(wrong), false)
  })

  test('is never the same twice and shows only its first characters', () => {
    const tokens = new Set(Array.from({ length: 1000 }, mintToken))
    assert.equal(tokens.size, 1000)
    const [token = ''] = tokens
    assert.equal(tokenPrefix(token), token.slice(0, 12))
    assert.equal(hashToken(token).length, 32)
  })

  test('uses every character of its alphabet about as often', () => {
    const counts = new Map<string, number>()
    for (let i = 0; i < 2000; i++) for (const c of mintToken().slice(6, 38)) counts.set(c, (counts.get(c) ?? 0) + 1)
    assert.equal(counts.size, 62)
    const expected = (2000 * 32) / 62
    for (const [c, count] of counts) assert.ok(Math.abs(count - expected) < expected / 4, `${c}: ${count}`)
  })
})

describe('access', () => {
  test('with the defaults alone, no token is valid and public routes are open', async t => {
    const app = Fastify()
    t.after(() => app.close())
    await app.register(auth)
    app.get('/public', { config: { access: 'public' } }, () => 'ok')
    app.get('/', () => 'ok')
    assert.equal((await app.inject('/public')).statusCode, 200)
    assert.equal((await app.inject('/')).statusCode, 401)
    const reply = await app.inject({ url: '/', headers: { authorization: `Bearer ${mintToken()}` } })
    assert.equal(reply.statusCode, 401)
  })

  test('a route without a policy requires a token', async t => {
    const { get, tokens } = await setup(t)
    assert.equal((await get('/silent')).statusCode, 401)
    assert.equal((await get('/silent', tokens.issue())).statusCode, 200)
  })

  test('a request without a token is told how to send one', async t => {
    const { get } = await setup(t)
    const reply = await get('/members')
    assert.equal(reply.statusCode, 401)
    assert.equal(reply.headers['www-authenticate'], 'Bearer realm="rhone"')
  })

  test('a valid token names its user', async t => {
    const { get, tokens } = await setup(t)
    const reply = await get('/members', tokens.issue())
    assert.deepEqual([reply.statusCode, reply.body], [200, '{"name":"ada"}'])
  })

  test('a connection can carry requests of several users', async t => {
    const { app, tokens } = await setup(t)
    const [ada, eve, nobody] = [
      tokens.issue(),
      tokens.issue(['admin'], { username: 'eve', userId: 'user-2' }),
      mintToken()
    ]
    const ask = (token: string) => `GET /members HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\n`
    const asked = [ada, ada, eve, nobody, ada].map(token => `${ask(token)}\r\n`).join('')
    const replies = await exchange(await listen(app), `${asked}${ask(eve)}Connection: close\r\n\r\n`)
    assert.deepEqual(
      replies.map(({ statusCode, body }) => (statusCode === 200 ? JSON.parse(body).name : statusCode)),
      ['ada', 'ada', 'eve', 401, 'ada', 'eve']
    )
  })

  test('the scheme is case-insensitive', async t => {
    const { app, tokens } = await setup(t)
    const reply = await app.inject({ url: '/members', headers: { authorization: `bEARER  ${tokens.issue()}` } })
    assert.equal(reply.statusCode, 200)
  })

  test('malformed tokens are refused without a lookup', async t => {
    const { app, tokens } = await setup(t)
    const mistyped = mintToken().replace(/.$/, c => (c === '0' ? '1' : '0'))
    for (const authorization of [
      '',
      'Bearer',
      'Bearer ',
      'Basic YTpi',
      `Bearer ${mistyped}`,
      `Bearer ${'x'.repeat(9000)}`
    ]) {
      const reply = await app.inject({ url: '/members', headers: { authorization } })
      assert.equal(reply.statusCode, 401, authorization.slice(0, 30))
      assert.equal(reply.headers['www-authenticate'], 'Bearer realm="rhone", error="invalid_token"')
    }
    assert.equal(tokens.lookUps, 0)
  })

  test('an unknown URL is not found, with or without a token', async t => {
    const { get } = await setup(t)
    assert.equal((await get('/nowhere')).statusCode, 404)
    assert.equal((await get('/nowhere', mintToken())).statusCode, 404)
  })

  test('a public route does not verify tokens, unless it asks for the caller', async t => {
    const { app, get, tokens } = await setup(t)
    app.get('/health', { config: { access: 'public' } }, async request => {
      const principal = await app.auth.identify(request)
      return principal?.username ?? 'nobody'
    })
    const token = tokens.issue()
    assert.equal((await get('/public', token)).body, '{"name":null}')
    assert.equal(tokens.lookUps, 0)
    assert.equal((await get('/health', token)).body, 'ada')
    assert.equal((await get('/health')).body, 'nobody')
    assert.equal((await get('/health', mintToken())).body, 'nobody')
    assert.equal((await get('/health', 'junk')).body, 'nobody')
  })

  test('scopes: admin includes deploy, which includes read; unsafe methods need admin by default', async t => {
    const { get, tokens } = await setup(t)
    const matrix: Record<Scope, Record<string, number>> = {
      read: { '/members': 200, 'POST /deploy': 403, 'POST /members': 403 },
      deploy: { '/members': 200, 'POST /deploy': 200, 'POST /members': 403 },
      admin: { '/members': 200, 'POST /deploy': 200, 'POST /members': 200 }
    }
    for (const [scope, expectations] of Object.entries(matrix)) {
      const token = tokens.issue([scope as Scope])
      for (const [url, status] of Object.entries(expectations))
        assert.equal((await get(url, token)).statusCode, status, `${scope} ${url}`)
    }
    const none = tokens.issue([])
    assert.equal((await get('/members', none)).statusCode, 403)
  })

  test('a token with insufficient scope is told which scope is needed', async t => {
    const { get, tokens } = await setup(t)
    const reply = await get('POST /deploy', tokens.issue(['read']))
    assert.equal(reply.headers['www-authenticate'], 'Bearer realm="rhone", error="insufficient_scope", scope="deploy"')
  })

  test("operators' routes require an operator and, by default, the scope admin", async t => {
    const { get, tokens } = await setup(t)
    assert.equal((await get('/admin')).statusCode, 401)
    assert.equal((await get('/admin', tokens.issue(['admin']))).statusCode, 403)
    assert.equal((await get('/admin', tokens.issue(['deploy'], { isOperator: true }))).statusCode, 403)
    assert.equal((await get('/admin/read', tokens.issue(['read'], { isOperator: true }))).statusCode, 200)
    assert.equal((await get('/admin', tokens.issue(['admin'], { isOperator: true }))).statusCode, 200)
  })
})

describe('memory', () => {
  test('a token is looked up once, even for many concurrent requests', async t => {
    const { get, tokens } = await setup(t)
    const token = tokens.issue()
    await Promise.all(Array.from({ length: 20 }, () => get('/members', token)))
    await get('/members', token)
    assert.equal(tokens.lookUps, 1)
  })

  test('a revoked token is refused once its cache entry expires', async t => {
    const { get, tokens } = await setup(t, { ttl: 60 })
    const token = tokens.issue()
    assert.equal((await get('/members', token)).statusCode, 200)
    tokens.revoke(token)
    setAhead(t, performance, 70)
    assert.equal((await get('/members', token)).statusCode, 401)
  })

  test('the maximum cache time is five seconds', () =>
    assert.rejects(boot({ ttl: 5001 }), /rhone-auth: option "ttl".*5000/))

  test('a token in use is refreshed ahead, so that no request waits', async t => {
    const { get, tokens } = await setup(t)
    const token = tokens.issue()
    await get('/members', token)
    const { now } = performance
    t.mock.method(performance, 'now', () => now.call(performance) + 2_600)
    const { promise, resolve } = Promise.withResolvers<void>()
    tokens.gate = promise
    assert.equal((await get('/members', token)).statusCode, 200, 'does not wait for the read that it causes')
    assert.equal(tokens.lookUps, 2)
    await get('/members', token)
    assert.equal(tokens.lookUps, 2, 'one read is enough')
    resolve()
  })

  test('evicting a token or its user makes a revocation effective immediately', async t => {
    const { app, get, tokens } = await setup(t)
    for (const forgotten of ['token-x', 'user-x', undefined]) {
      const token = tokens.issue(['admin'], { credentialId: 'token-x', userId: 'user-x' })
      const bystander = tokens.issue(['admin'], { credentialId: 'token-y', userId: 'user-y' })
      await get('/members', token)
      await get('/members', bystander)
      tokens.revoke(token)
      assert.equal((await get('/members', token)).statusCode, 200)
      const before = tokens.lookUps
      app.auth.forget(forgotten)
      assert.equal((await get('/members', token)).statusCode, 401)
      await get('/members', bystander)
      assert.equal(tokens.lookUps - before, forgotten === undefined ? 2 : 1)
    }
  })

  test('a notification evicts a token, a gap evicts all, and closing the app unsubscribes', async t => {
    let onChange: (id: string) => void = () => {}
    let onGap = () => {}
    let isSubscribed = false
    const changes: AuthDeps['changes'] = async (change, gap) => {
      onChange = change
      onGap = gap
      isSubscribed = true
      return async () => {
        isSubscribed = false
      }
    }
    const { app, get, tokens } = await setup(t, {}, { changes })
    const [one, two] = [tokens.issue(), tokens.issue()]
    const readBoth = async () => {
      await get('/members', one)
      await get('/members', two)
      return tokens.lookUps
    }
    assert.equal(await readBoth(), 2)
    onChange('token-1')
    assert.equal(await readBoth(), 3)
    onGap()
    assert.equal(await readBoth(), 5)
    await app.close()
    assert.equal(isSubscribed, false)
  })

  test('a lookup that started before an eviction is not cached', async t => {
    const { app, get, tokens } = await setup(t)
    const token = tokens.issue()
    const { promise, resolve } = Promise.withResolvers<void>()
    tokens.gate = promise
    const early = get('/members', token)
    await eventually(() => tokens.lookUps > 0)
    tokens.revoke(token)
    app.auth.forget('token-0')
    tokens.gate = Promise.resolve()
    assert.equal((await get('/members', token)).statusCode, 401, 'does not join the read that is under way')
    resolve()
    assert.equal((await early).statusCode, 200)
    assert.equal((await get('/members', token)).statusCode, 401)
  })

  test('a token expires on time, even from the cache', async t => {
    const { get, tokens } = await setup(t)
    const token = tokens.issue(['admin'], { expiresAt: new Date(Date.now() + 3_600_000) })
    assert.equal((await get('/members', token)).statusCode, 200)
    const { now } = Date
    t.mock.method(Date, 'now', () => now() + 3_600_000)
    assert.equal((await get('/members', token)).statusCode, 401)
  })

  test('a refusal is cached briefly, and a flood of them evicts no valid token', async t => {
    const { get, tokens } = await setup(t, { cacheSize: 2 })
    const token = tokens.issue()
    const unknown = mintToken()
    await get('/members', token)
    for (let i = 0; i < 3; i++) assert.equal((await get('/members', unknown)).statusCode, 401)
    assert.equal(tokens.lookUps, 2)
    for (let i = 0; i < 5; i++) await get('/members', mintToken())
    const before = tokens.lookUps
    await get('/members', token)
    assert.equal(tokens.lookUps, before)
  })
})

describe('without the database', () => {
  test('cached tokens keep working, and everything else is 503, never 401 or 403', async t => {
    const { get, tokens } = await setup(t)
    const known = tokens.issue(['admin'], { isOperator: true })
    const other = tokens.issue(['admin'], { isOperator: true })
    await get('/admin', known)
    tokens.isAway = true
    assert.equal((await get('/admin', known)).statusCode, 200)
    for (const url of ['/members', '/admin']) {
      const reply = await get(url, other)
      assert.equal(reply.statusCode, 503, url)
      assert.equal(reply.headers['retry-after'], '1')
    }
    tokens.isAway = false
    assert.equal((await get('/admin', other)).statusCode, 200, 'a failure is not remembered')
  })

  test('an evicted token gets 503, not a refusal', async t => {
    const { get, tokens } = await setup(t, { ttl: 50 })
    const token = tokens.issue()
    await get('/members', token)
    tokens.isAway = true
    setAhead(t, performance, 30)
    assert.equal((await get('/members', token)).statusCode, 200, 'the read ahead fails without a trace')
    setAhead(t, performance, 30)
    assert.equal((await get('/members', token)).statusCode, 503)
  })
})

describe('the last use', () => {
  test('is reported in batches, and at the end', async t => {
    const batches: (readonly string[])[] = []
    t.mock.timers.enable({ apis: ['setInterval'] })
    const touch: AuthDeps['touch'] = async uses => void batches.push(uses.map(use => use.tokenId))
    const { app, get, tokens } = await setup(t, {}, { touch })
    const [one, two] = [tokens.issue(), tokens.issue()]
    await Promise.all([get('/members', one), get('/members', one), get('/members', two)])
    t.mock.timers.tick(59_999)
    assert.deepEqual(batches, [])
    t.mock.timers.tick(1)
    assert.deepEqual(batches, [['token-0', 'token-1']])
    await get('/members', two)
    await app.close()
    assert.deepEqual(batches.at(-1), ['token-1'])
  })

  test('that cannot be reported fails neither a request nor the close', async t => {
    const { app, get, tokens } = await setup(t, {}, { touch: () => Promise.reject(new Error('away')) })
    assert.equal((await get('/members', tokens.issue())).statusCode, 200)
    await app.close()
  })
})

describe('at boot', () => {
  test('a route without a policy is refused, if policies are required', async t => {
    const app = Fastify()
    t.after(() => app.close())
    await app.register(auth, { requireAccess: true })
    app.get('/open', { config: { access: 'public' } }, () => 'ok')
    assert.throws(() => app.get('/forgotten', () => 'ok'), /rhone-auth: GET \/forgotten has no access policy/)
  })

  test('an unknown access or scope is refused', async t => {
    const { app } = await setup(t)
    const config = { access: 'pubic' } as unknown as { access: 'public' }
    assert.throws(() => app.get('/typo', { config }, () => 'ok'), /config.access "pubic" is not one of public/)
    const scoped = { access: 'member', scope: 'write' } as unknown as { access: 'member' }
    assert.throws(() => app.get('/typo', { config: scoped }, () => 'ok'), /config.scope "write" is not one of read/)
  })

  test('an unknown option is refused', () => assert.rejects(boot({ tll: 1 }), /rhone-auth: unknown option "tll"/))
})

test('refusals are counted by reason', async t => {
  const registry = new Registry()
  const { get, tokens } = await setup(t, {}, { registry })
  await get('/members')
  await get('/members', 'junk')
  await get('/members', mintToken())
  await get('/admin', tokens.issue())
  await get('POST /deploy', tokens.issue(['read']))
  tokens.isAway = true
  await get('/members', mintToken())
  const text = await registry.metrics()
  for (const reason of ['missing', 'malformed', 'unknown', 'operator', 'scope', 'unavailable'])
    assert.match(text, new RegExp(`rhone_auth_failures_total\\{reason="${reason}"\\} 1\n`), reason)
})

test('an invalid token is audited once, however often it is tried', async t => {
  const attempts: unknown[] = []
  const { app, get, tokens } = await setup(t, { refusalTtl: 0 })
  app.decorate('audit', { attempt: (_request: unknown, event: unknown) => attempts.push(event) } as never)
  const unknown = mintToken()
  for (let i = 0; i < 3; i++) await get('/members', unknown)
  await get('/members', 'junk')
  await get('/members')
  await get('/members', tokens.issue())
  assert.deepEqual(attempts, [
    {
      type: 'auth',
      action: 'authenticate',
      resource: 'token',
      outcome: 'failure',
      details: { prefix: unknown.slice(0, 12) }
    }
  ])
})
