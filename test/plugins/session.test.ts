import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import auth from '../../plugins/auth/index.ts'
import session, { type SessionDeps, type SessionOptions } from '../../plugins/session/index.ts'

const ADA = { id: 'user-1', username: 'ada', isOperator: false }

/** A bare app with a toy sign-in; `cookieOf` returns the cookies that a browser keeps of a reply. */
async function setup(t: TestContext, options: Partial<SessionOptions> = {}, deps: SessionDeps = {}) {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(session, Object.freeze({ ...options, ...deps }))
  await app.register(auth, { sources: [app.session], signInPage: '/login' })
  app.post('/in', { config: { access: 'public' } }, async (request, reply) => {
    const { id, cookie } = await app.session.begin(null, request, ADA, 'password')
    reply.header('set-cookie', cookie)
    return id
  })
  app.post('/out', { config: { access: 'public' } }, async (request, reply) => {
    reply.header('set-cookie', (await app.session.end(null, request)).cookie)
    return 'out'
  })
  app.get('/me', request => request.principal)
  app.get('/page', { config: { page: true } }, () => 'page')
  app.get('/grave', { config: { stepUp: true } }, () => 'done')
  app.get('/grave-page', { config: { stepUp: true, page: true } }, () => 'done')
  const signIn = async (cookie?: string) =>
    cookieOf(await app.inject({ method: 'POST', url: '/in', headers: cookie ? { cookie } : {} }))
  return { app, signIn, get: (url: string, cookie: string) => app.inject({ url, headers: { cookie } }) }
}

function cookieOf(reply: { headers: Record<string, unknown> }): string {
  return String(reply.headers['set-cookie']).split(';')[0]!
}

describe('the cookie', () => {
  test('of a request that may not present one counts as expired, and fails closed', async t => {
    let may: unknown = true
    const { app, signIn, get } = await setup(t, {}, { accepts: () => may as boolean })
    const cookie = await signIn()
    assert.equal((await get('/me', cookie)).statusCode, 200)
    for (may of [false, undefined, 'yes']) {
      assert.equal((await get('/me', cookie)).statusCode, 401, String(may))
      await app.inject({ method: 'POST', url: '/out', headers: { cookie } })
    }
    may = true
    assert.equal((await get('/me', cookie)).statusCode, 200, 'nor could it be ended')
  })

  test('is opaque, HttpOnly, and bound to this host', async t => {
    const { app } = await setup(t)
    const reply = await app.inject({ method: 'POST', url: '/in' })
    const [pair, ...attributes] = String(reply.headers['set-cookie']).split('; ')
    assert.match(pair!, /^__Host-rhone_session=[\w-]{43}$/)
    assert.deepEqual(attributes, ['Path=/', 'Max-Age=2592000', 'HttpOnly', 'SameSite=Lax', 'Secure'])
  })

  test('has no prefix and is not Secure over http', async t => {
    const { app } = await setup(t, { secure: false })
    const cookie = String((await app.inject({ method: 'POST', url: '/in' })).headers['set-cookie'])
    assert.match(cookie, /^rhone_session=/)
    assert.doesNotMatch(cookie, /Secure/)
  })

  test('identifies the caller, the sign-in method and its time', async t => {
    const { signIn, get } = await setup(t)
    const { credentialId, signedInAt, expiresAt, ...principal } = (await get('/me', await signIn())).json()
    assert.deepEqual(principal, {
      userId: 'user-1',
      username: 'ada',
      isOperator: false,
      via: 'session',
      scopes: ['admin']
    })
    assert.ok(credentialId)
    assert.ok(Math.abs(Date.now() - Date.parse(signedInAt)) < 5_000)
    assert.ok(Date.parse(expiresAt) > Date.now() + 29 * 86_400_000)
  })

  test('that is forged, mistyped or duplicated signs nobody in', async t => {
    const { signIn, get } = await setup(t)
    const own = await signIn()
    const other = await signIn()
    for (const cookie of [
      `__Host-rhone_session=${'A'.repeat(43)}`,
      '__Host-rhone_session=',
      '__Host-rhone_session=x',
      `${own}x`,
      `${own}; ${other}`,
      own.replace('__Host-', ''),
      own.replace('__Host-rhone_session', '__host-rhone_session'),
      own.replace('=', '2=')
    ])
      assert.equal((await get('/me', cookie)).statusCode, 401, cookie)
    assert.equal((await get('/me', `a=b; ${own}; c`)).statusCode, 200)
  })

  test('is ignored next to an Authorization header', async t => {
    const { app, signIn } = await setup(t)
    const headers = { cookie: await signIn(), authorization: 'Bearer junk' }
    assert.equal((await app.inject({ url: '/me', headers })).statusCode, 401)
  })
})

describe('a session', () => {
  test('is new with every sign-in, and the previous one of the browser ends', async t => {
    const { signIn, get } = await setup(t)
    const first = await signIn()
    assert.equal((await get('/me', first)).statusCode, 200)
    const second = await signIn(first)
    assert.notEqual(first, second)
    assert.equal((await get('/me', first)).statusCode, 401)
    assert.equal((await get('/me', second)).statusCode, 200)
  })

  test('never has a secret sent by the browser', async t => {
    const { signIn, get } = await setup(t)
    const planted = `__Host-rhone_session=${'B'.repeat(43)}`
    assert.notEqual(await signIn(planted), planted)
    assert.equal((await get('/me', planted)).statusCode, 401)
  })

  test('ends immediately, and its cookie is removed', async t => {
    const { app, signIn, get } = await setup(t)
    const cookie = await signIn()
    await get('/me', cookie)
    const out = await app.inject({ method: 'POST', url: '/out', headers: { cookie } })
    assert.match(String(out.headers['set-cookie']), /^__Host-rhone_session=; Path=\/; Max-Age=0; HttpOnly;/)
    assert.equal((await get('/me', cookie)).statusCode, 401)
  })

  test('stays valid while it is used, and ends when it is idle', async t => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { signIn, get } = await setup(t, { idle: 1, ttl: 0 })
    const cookie = await signIn()
    for (let i = 0; i < 4; i++) {
      t.mock.timers.tick(999)
      assert.equal((await get('/me', cookie)).statusCode, 200, `after ${(i + 1) * 999} ms of use`)
    }
    t.mock.timers.tick(1_000)
    assert.equal((await get('/me', cookie)).statusCode, 401)
  })

  test('ends after its lifetime, however much it is used', async t => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { signIn, get } = await setup(t, { lifetime: 1 })
    const cookie = await signIn()
    t.mock.timers.tick(999)
    assert.equal((await get('/me', cookie)).statusCode, 200)
    t.mock.timers.tick(1)
    assert.equal((await get('/me', cookie)).statusCode, 401)
  })

  test('is read again after a notification about it, or a gap in notifications', async t => {
    let reads = 0
    const changes = Promise.withResolvers<[(id: string) => void, () => void]>()
    const find = async () => {
      reads++
      const principal = { userId: 'u', username: 'ada', isOperator: false, scopes: ['admin' as const] }
      return { ...principal, via: 'session' as const, credentialId: 's' }
    }
    let isSubscribed = true
    const { app, signIn, get } = await setup(
      t,
      {},
      {
        store: { create: async () => 's', find, end: async () => undefined },
        changes: async (onChange, onGap) => {
          changes.resolve([onChange, onGap])
          return async () => {
            isSubscribed = false
          }
        }
      }
    )
    const [onChange, onGap] = await changes.promise
    const cookie = await signIn()
    const readsOf = async () => {
      await get('/me', cookie)
      await get('/me', cookie)
      return reads
    }
    assert.equal(await readsOf(), 1)
    onChange('s')
    assert.equal(await readsOf(), 2)
    onChange('u')
    assert.equal(await readsOf(), 3)
    onGap()
    assert.equal(await readsOf(), 4)
    app.auth.forget('s')
    assert.equal(await readsOf(), 5)
    await app.close()
    assert.equal(isSubscribed, false)
  })
})

describe('a browser that is not signed in', () => {
  test('is redirected to the sign-in page when it requests a page, and back afterwards', async t => {
    const { app } = await setup(t)
    const reply = await app.inject('/page?a=1&b=//x')
    assert.deepEqual([reply.statusCode, reply.headers.location], [303, '/login?next=%2Fpage%3Fa%3D1%26b%3D%2F%2Fx'])
  })

  test('gets 401 everywhere else, even with an expired session', async t => {
    const { app, get } = await setup(t)
    assert.equal((await app.inject('/me')).statusCode, 401)
    const reply = await get('/me', `__Host-rhone_session=${'A'.repeat(43)}`)
    assert.deepEqual([reply.statusCode, reply.headers['www-authenticate']], [401, 'Bearer realm="rhone"'])
  })

  test('gets 503, not 401, while the store is down', async t => {
    const store = { create: async () => 's', find: () => Promise.reject(new Error('away')), end: async () => undefined }
    const { get } = await setup(t, {}, { store })
    assert.equal((await get('/me', `__Host-rhone_session=${'A'.repeat(43)}`)).statusCode, 503)
  })
})

test('sensitive routes need a recent sign-in', async t => {
  const signedInAt = (seconds: number) => new Date(Date.now() - seconds * 1_000)
  let age = 0
  const store = {
    create: async () => 's',
    find: async () => ({
      userId: 'u',
      username: 'ada',
      isOperator: false,
      via: 'session' as const,
      credentialId: 's',
      scopes: ['admin' as const],
      signedInAt: signedInAt(age)
    }),
    end: async () => undefined
  }
  const { get, signIn } = await setup(t, { ttl: 0 }, { store })
  const cookie = await signIn()
  assert.equal((await get('/grave', cookie)).statusCode, 200)
  age = 16 * 60
  const refused = await get('/grave', cookie)
  assert.equal(refused.statusCode, 403)
  assert.match(String(refused.headers['www-authenticate']), /error="insufficient_user_authentication", max_age="900"/)
  assert.equal((await get('/me', cookie)).statusCode, 200)

  const led = await get('/grave-page?a=1', cookie)
  assert.deepEqual(
    [led.statusCode, led.headers.location],
    [303, '/login?next=%2Fgrave-page%3Fa%3D1&again=yes'],
    'a browser is led to the sign-in and back'
  )
})

test('an unknown or wrong option fails the boot', async () => {
  const boot = async (options: object) => {
    const app: FastifyInstance = Fastify()
    await app.register(session, options)
  }
  await assert.rejects(boot({ secret: 'x' }), /rhone-session: unknown option "secret"/)
  await assert.rejects(boot({ ttl: 5_001 }), /rhone-session: option "ttl"/)
})
