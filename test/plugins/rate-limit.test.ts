import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import rateLimitStock from '@fastify/rate-limit'
import { Registry } from '@platformatic/prom-client'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import { parseList } from 'structured-headers'
import clientIp from '../../plugins/client-ip.ts'
import errorsPlugin from '../../plugins/errors/index.ts'
import { limitFields } from '../../plugins/rate-limit/fields.ts'
import { quotaOf } from '../../plugins/rate-limit/gcra.ts'
import rateLimit, { type RateLimitDeps, type RateLimitOptions } from '../../plugins/rate-limit/index.ts'

type Input = Partial<RateLimitOptions> & RateLimitDeps
const perHour = (burst: number) => ({ ratePerSecond: 1 / 3600, burst })

async function server(t: TestContext, input: Input = {}): Promise<FastifyInstance> {
  const app: FastifyInstance = Fastify()
  t.after(() => app.close())
  await app.register(clientIp)
  await app.register(rateLimit, input)
  app.get('/', async () => 'served')
  return app
}

type Call = [method: 'GET' | 'HEAD' | 'POST' | 'OPTIONS', url: string]

async function statuses(app: FastifyInstance, calls: Call[], remoteAddress = '203.0.113.1'): Promise<number[]> {
  const codes: number[] = []
  for (const [method, url] of calls) codes.push((await app.inject({ method, url, remoteAddress })).statusCode)
  return codes
}

const times = (count: number, method: Call[0], url: string): Call[] =>
  Array.from({ length: count }, () => [method, url])

test('by default it allows two hundred at once, then refuses with the seconds to wait', async t => {
  const app: FastifyInstance = Fastify()
  t.after(() => app.close())
  await app.register(rateLimit)
  app.get('/', async () => 'served')
  t.mock.method(performance, 'now', () => 12_345)
  const codes = await statuses(app, times(201, 'GET', '/'))
  assert.deepEqual(codes, [...Array(200).fill(200), 429])
  assert.equal((await app.inject({ url: '/', remoteAddress: '203.0.113.1' })).headers['retry-after'], '1')
})

test('a refusal is a RATE_LIMIT with Retry-After and consistent fields', async t => {
  const app = await server(t, { general: { ratePerSecond: 10 / 60, burst: 1 } })
  await app.inject('/')
  const refused = await app.inject('/')
  assert.equal(refused.statusCode, 429)
  assert.equal(refused.json().code, 'RATE_LIMIT')
  assert.equal(refused.headers['retry-after'], '6')
  assert.equal(refused.headers['ratelimit-policy'], '"general";q=1;w=6')
  assert.equal(refused.headers.ratelimit, '"general";r=0;t=6')
})

test('a refusal names its limit and its wait', async t => {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(errorsPlugin)
  await app.register(rateLimit, {
    deploy: { ratePerSecond: 10 / 60, burst: 1 },
    strict: { ratePerSecond: 1 / 600, burst: 1 }
  })
  for (const rateClass of ['deploy', 'strict'] as const)
    app.get(`/${rateClass}`, { config: { rateClass } }, () => 'served')
  const detailOf = async (url: string) => {
    await app.inject(url)
    return (await app.inject(url)).json().error.detail
  }
  assert.equal(await detailOf('/deploy'), 'The limit "deploy" is exhausted; try again in 6 seconds')
  assert.equal(await detailOf('/strict'), 'The limit "strict" is exhausted; try again in 10 minutes')
})

test('a reply with a refunded status of the route returns its token', async t => {
  const app = await server(t, { deploy: perHour(2) })
  const config = { rateClass: 'deploy', rateRefund: [409] } as const
  app.get('/deploy', { config }, (request, reply) => reply.code(Number(request.headers.as ?? 202)).send('told'))
  const ask = async (as: number) => (await app.inject({ url: '/deploy', headers: { as: String(as) } })).statusCode
  const codes = []
  for (const as of [409, 409, 409, 409, 202, 409, 202, 202]) codes.push(await ask(as))
  assert.deepEqual(codes, [409, 409, 409, 409, 202, 409, 202, 429])
})

test('each refusal has its own wait', async t => {
  const waits = [6, 6, 3, 60, 6]
  const store = { take: () => ({ allowed: false, remaining: 0, retryAfter: waits.shift()! }) }
  const app = await server(t, { store })
  const told: unknown[] = []
  for (let i = 0; i < 5; i++) told.push((await app.inject('/')).headers['retry-after'])
  assert.deepEqual(told, ['6', '6', '3', '60', '6'])
})

test('every limited reply carries structured RateLimit fields', async t => {
  const app = await server(t, { general: { ratePerSecond: 100, burst: 200 } })
  const replies = [await app.inject('/'), await app.inject('/nowhere'), await app.inject({ method: 'HEAD', url: '/' })]
  for (const { headers } of replies) {
    const [policy] = parseList(String(headers['ratelimit-policy']))
    const [limit] = parseList(String(headers.ratelimit))
    assert.deepEqual(policy, [
      'general',
      new Map([
        ['q', 200],
        ['w', 2]
      ])
    ])
    assert.equal(limit?.[0], 'general')
    assert.deepEqual([...(limit?.[1].keys() ?? [])], ['r', 't'])
  }
})

test('cached header texts always match the current state', () => {
  const fields = limitFields('deploy', quotaOf({ ratePerSecond: 1, burst: 5 }))
  for (const retryAfter of [1, 6, 6, 3600])
    for (const remaining of [0, 5, 5, 5 + 1024, 5, 2 ** 40 + 5])
      assert.equal(fields({ allowed: true, remaining, retryAfter }).limit, `"deploy";r=${remaining};t=${retryAfter}`)
})

test('the routes of a class share one quota, HEAD included', async t => {
  const app = await server(t, { deploy: perHour(4) })
  for (const url of ['/a', '/b', '/c']) app.get(url, { config: { rateClass: 'deploy' } }, async () => 'deployed')
  const calls: Call[] = [
    ['GET', '/a'],
    ['HEAD', '/a'],
    ['GET', '/b'],
    ['HEAD', '/c'],
    ['GET', '/c'],
    ['HEAD', '/b']
  ]
  assert.deepEqual(await statuses(app, calls), [200, 200, 200, 200, 429, 429])
})

test('a class is counted separately from the general one', async t => {
  const app = await server(t, { general: perHour(1), webhook: perHour(500) })
  app.post('/hook', { config: { rateClass: 'webhook' } }, async () => 'stored')
  assert.deepEqual(
    await statuses(app, [
      ['GET', '/'],
      ['GET', '/']
    ]),
    [200, 429]
  )
  const codes = await statuses(app, times(501, 'POST', '/hook'))
  assert.deepEqual([codes.slice(0, 500).every(code => code === 200), codes[500]], [true, 429])
})

test('unhandled requests count: unknown routes and methods, preflights, refusals by later hooks', async t => {
  const app = await server(t, { general: perHour(5) })
  app.addHook('onRequest', (request, reply, done) => {
    if (request.method === 'OPTIONS') reply.code(204).send()
    else if (request.url === '/closed') reply.code(503).send()
    else done()
  })
  app.options('*', async () => 'never reached')
  app.get('/closed', async () => 'never reached')
  const calls: Call[] = [
    ['GET', '/none'],
    ['POST', '/'],
    ['OPTIONS', '/'],
    ['GET', '/closed'],
    ['GET', '/'],
    ['GET', '/']
  ]
  assert.deepEqual(await statuses(app, calls), [404, 404, 204, 503, 200, 429])
})

test('a request is counted before any later hook does work for it', async t => {
  const app = await server(t, { general: perHour(1) })
  let lookUps = 0
  app.addHook('onRequest', async () => {
    lookUps += 1
  })
  await statuses(app, times(5, 'GET', '/'))
  assert.equal(lookUps, 1)
})

test('a route that opts out is neither limited nor counted, and has no limit fields', async t => {
  const app = await server(t, { general: perHour(1) })
  app.get('/health', { config: { rateClass: false } }, async () => 'alive')
  assert.deepEqual(new Set(await statuses(app, times(20, 'GET', '/health'))), new Set([200]))
  assert.equal((await app.inject('/health')).headers.ratelimit, undefined)
  assert.deepEqual(
    await statuses(app, [
      ['GET', '/'],
      ['GET', '/']
    ]),
    [200, 429]
  )
})

test('each IPv4 address and each IPv6 /64 has its own quota', async t => {
  const app = await server(t, { general: perHour(1) })
  const once: Call[] = [['GET', '/']]
  assert.deepEqual(await statuses(app, once, '203.0.113.1'), [200])
  assert.deepEqual(await statuses(app, once, '203.0.113.2'), [200])
  assert.deepEqual(await statuses(app, once, '::ffff:203.0.113.2'), [429])
  assert.deepEqual(await statuses(app, once, '2001:db8::1'), [200])
  assert.deepEqual(await statuses(app, once, '2001:db8:0:0:ffff::1'), [429])
  assert.deepEqual(await statuses(app, once, '2001:db8:0:1::1'), [200])
})

test('twenty thousand addresses cannot reset the one that is exhausted', async t => {
  const app = await server(t, { general: perHour(2), maxKeys: 5000 })
  assert.deepEqual(await statuses(app, times(3, 'GET', '/'), '2001:db8::1'), [200, 200, 429])
  for (let i = 1; i <= 20_000; i++) app.rateLimiter.take('general', `2001:db8:0:${i.toString(16)}::/64`)
  assert.deepEqual(await statuses(app, times(1, 'GET', '/'), '2001:db8::1'), [429])
})

/** By address, then a stand-in for authentication, then by principal. */
async function authenticated(t: TestContext, input: Input): Promise<FastifyInstance> {
  const app: FastifyInstance = Fastify()
  t.after(() => app.close())
  await app.register(rateLimit, input)
  app.decorateRequest('principal', null)
  app.addHook('onRequest', async request => {
    const userId = request.headers.authorization
    if (userId !== undefined) Object.assign(request, { principal: { userId } })
  })
  await app.register(rateLimit, { by: 'principal' })
  app.get('/', async () => 'served')
  return app
}

test('two users behind one address are independent, one user at two addresses is not', async t => {
  const app = await authenticated(t, { user: perHour(1) })
  const as = async (authorization: string, remoteAddress: string) =>
    (await app.inject({ url: '/', remoteAddress, headers: { authorization } })).statusCode
  assert.equal(await as('ada', '203.0.113.1'), 200)
  assert.equal(await as('bob', '203.0.113.1'), 200)
  assert.equal(await as('ada', '203.0.113.2'), 429)
  assert.equal(await as('bob', '203.0.113.1'), 429)
})

test('a request that is counted twice names both quotas; one without a user only that of its address', async t => {
  const app = await authenticated(t, { general: perHour(9), user: perHour(2) })
  const known = await app.inject({ url: '/', headers: { authorization: 'ada' } })
  const policies = parseList(String(known.headers['ratelimit-policy'])).map(([name, parameters]) => [
    name,
    parameters.get('q')
  ])
  const limits = parseList(String(known.headers.ratelimit)).map(([name, parameters]) => [name, parameters.get('r')])
  assert.deepEqual(policies, [
    ['general', 9],
    ['user', 2]
  ])
  assert.deepEqual(limits, [
    ['general', 8],
    ['user', 1]
  ])
  assert.match(String((await app.inject('/')).headers.ratelimit), /^"general";r=7;t=\d+$/)
})

test('the caller can provide the principal', async t => {
  const app: FastifyInstance = Fastify()
  t.after(() => app.close())
  const principal = (request: FastifyRequest) => request.headers['x-user']?.toString()
  await app.register(rateLimit, { by: 'principal', user: perHour(1), principal })
  app.get('/', async () => 'served')
  const as = async (user: string) => (await app.inject({ url: '/', headers: { 'x-user': user } })).statusCode
  assert.deepEqual([await as('ada'), await as('ada'), await as('bob')], [200, 429, 200])
})

test('refusals are counted by class, and every class exists from the start', async t => {
  const registry = new Registry()
  const app = await server(t, { general: perHour(1), registry })
  await statuses(app, times(4, 'GET', '/'))
  const metrics = await registry.metrics()
  assert.match(metrics, /rhone_rate_limited_total\{class="general"\} 3/)
  for (const name of ['auth', 'deploy', 'webhook', 'strict', 'user'])
    assert.match(metrics, new RegExp(`rhone_rate_limited_total\\{class="${name}"\\} 0`))
})

test('other code can count in a class by its own key', async t => {
  const app = await server(t, { webhook: perHour(1) })
  assert.equal(app.rateLimiter.take('webhook', 'installation:1').allowed, true)
  assert.deepEqual(app.rateLimiter.take('webhook', 'installation:1'), {
    allowed: false,
    remaining: 0,
    retryAfter: 3600
  })
  assert.equal(app.rateLimiter.take('webhook', 'installation:2').allowed, true)
})

test('any store can count, even asynchronously', async t => {
  const taken: string[] = []
  const store = {
    take: async (rateClass: string, key: string) => {
      taken.push(`${rateClass} ${key}`)
      return { allowed: taken.length < 2, remaining: 7, retryAfter: 42 }
    }
  }
  const app = await server(t, { general: perHour(9), store })
  const [served, refused] = [await app.inject('/'), await app.inject('/')]
  assert.deepEqual([served.statusCode, served.headers.ratelimit], [200, '"general";r=7;t=42'])
  assert.deepEqual([refused.statusCode, refused.headers['retry-after']], [429, '42'])
  assert.deepEqual(taken, ['general 127.0.0.1', 'general 127.0.0.1'])
})

test('it leaves the app free for @fastify/rate-limit itself', async t => {
  const app = await server(t, { store: { take: () => ({ allowed: true, remaining: 1, retryAfter: 1 }) } })
  await app.register(rateLimitStock, { global: false })
  app.get('/stock', { config: { rateLimit: { max: 1 } } }, async () => 'served')
  assert.deepEqual(await statuses(app, times(2, 'GET', '/stock')), [200, 429])
})

test('two apps in one process count separately', async t => {
  const [one, other] = await Promise.all([server(t, { general: perHour(1) }), server(t, { general: perHour(1) })])
  assert.deepEqual(await statuses(one, times(2, 'GET', '/')), [200, 429])
  assert.deepEqual(await statuses(other, times(2, 'GET', '/')), [200, 429])
})

test('a wrong option fails the boot with an explanation, and so does an unknown class', async () => {
  const boot = async (input: object) => {
    await Fastify().register(rateLimit, input)
  }
  await assert.rejects(
    boot({ general: { ratePerSecond: 0, burst: 1 } }),
    /rhone-rate-limit: option "general.ratePerSecond"/
  )
  await assert.rejects(boot({ auth: { ratePerSecond: 1, burst: 0 } }), /rhone-rate-limit: option "auth.burst"/)
  await assert.rejects(boot({ deploys: perHour(1) }), /rhone-rate-limit: unknown option "deploys"/)

  const app = Fastify()
  await app.register(rateLimit)
  const route = () => app.get('/', { config: { rateClass: 'depoly' as 'deploy' } }, async () => '')
  assert.throws(route, /GET \/: unknown rate class "depoly"; the classes are general, .*user$/)
  await app.close()
})

test('an app has rate classes of its own beside those of the plugin', async t => {
  const app = await server(t, { classes: { upload: perHour(1) }, general: perHour(3) })
  // The type of the name is the app's to declare; this test has no app.
  app.post('/uploads', { config: { rateClass: 'upload' as 'general' } }, async () => 'stored')
  assert.deepEqual(await statuses(app, times(2, 'POST', '/uploads')), [200, 429])
  assert.deepEqual(await statuses(app, times(4, 'GET', '/')), [200, 200, 200, 429])
  assert.ok(app.rateLimiter.classes.includes('upload' as 'general'))
})

test('a class of an app cannot have a built-in name, or one that is invalid in a header', async () => {
  const withClass = (name: string) => Fastify().register(rateLimit, { classes: { [name]: perHour(1) } })
  await assert.rejects(async () => withClass('general'), /option "classes": "general" is a built-in class/)
  await assert.rejects(async () => withClass('Up load'), /rhone-rate-limit.*Up load/)
})

test('options may be frozen, and are not modified', async t => {
  const options = Object.freeze({ general: Object.freeze(perHour(1)) })
  const app = await server(t, options)
  assert.equal((await app.inject('/')).statusCode, 200)
  assert.deepEqual(options, { general: perHour(1) })
})
