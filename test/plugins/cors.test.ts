import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import cors from '../../plugins/cors.ts'
import errorsPlugin from '../../plugins/errors/index.ts'
import { errors } from '../../plugins/lib/errors.ts'

const CONSOLE = 'https://console.example'
const EVIL = 'https://evil.example'

async function build(t: TestContext, options: Parameters<typeof cors>[1] = { origins: [CONSOLE] }) {
  const app: FastifyInstance = Fastify()
  t.after(() => app.close())
  await app.register(errorsPlugin)
  await app.register(cors, options)
  app.get('/apps/:app', () => 'ok')
  app.patch('/apps/:app', () => 'ok')
  app.post('/webhooks', { config: { cors: false } }, () => 'ok')
  return app
}

function preflight(app: FastifyInstance, origin: string, method = 'PATCH', url = '/apps/42', more = {}) {
  const headers = { origin, 'access-control-request-method': method, ...more }
  return app.inject({ method: 'OPTIONS', url, headers })
}

function corsHeaders(headers: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith('access-control-')))
}

const GRANTED = {
  'access-control-allow-origin': CONSOLE,
  'access-control-allow-credentials': 'true',
  'access-control-expose-headers':
    'ETag, Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id, Idempotent-Replayed'
}

describe('a request', () => {
  it('of an allowed origin is readable', async t => {
    const app = await build(t)
    const { headers } = await app.inject({ url: '/apps/42', headers: { origin: CONSOLE } })
    assert.deepEqual(corsHeaders(headers), GRANTED)
    assert.equal(headers.vary, 'Origin')
  })

  it('of an allowed origin is readable even if it fails', async t => {
    const app = await build(t)
    app.addHook('onRequest', (_request, _reply, done) => done(errors.rateLimit(1)))
    const reply = await app.inject({ url: '/apps/42', headers: { origin: CONSOLE } })
    assert.equal(reply.statusCode, 429)
    assert.deepEqual(corsHeaders(reply.headers), GRANTED)
  })

  for (const origin of [EVIL, 'null', `${CONSOLE}.evil.example`, `${CONSOLE}/`, 'http://console.example', ''])
    it(`of "${origin}" is processed, but not readable`, async t => {
      const app = await build(t)
      const reply = await app.inject({ url: '/apps/42', headers: { origin } })
      assert.equal(reply.statusCode, 200)
      assert.deepEqual(corsHeaders(reply.headers), {})
      assert.equal(reply.headers.vary, 'Origin')
    })

  it('without an origin only gets Vary', async t => {
    const app = await build(t)
    const { headers } = await app.inject('/apps/42')
    assert.deepEqual(corsHeaders(headers), {})
    assert.equal(headers.vary, 'Origin')
  })

  it('to a route that opts out gets no headers', async t => {
    const app = await build(t)
    const { headers } = await app.inject({ method: 'POST', url: '/webhooks', headers: { origin: CONSOLE } })
    assert.deepEqual(corsHeaders(headers), {})
    assert.equal(headers.vary, undefined)
  })

  it('is unchanged without the plugin', async t => {
    const app = Fastify().get('/', () => 'ok')
    t.after(() => app.close())
    const { headers } = await app.inject({ url: '/', headers: { origin: CONSOLE } })
    assert.deepEqual(corsHeaders(headers), {})
  })
})

describe('a preflight', () => {
  it('of an allowed origin for an existing route is 204', async t => {
    const app = await build(t)
    const reply = await preflight(app, CONSOLE)
    assert.equal(reply.statusCode, 204)
    assert.equal(reply.body, '')
    assert.equal(reply.headers.vary, 'Origin')
    assert.deepEqual(corsHeaders(reply.headers), {
      ...GRANTED,
      'access-control-allow-methods': 'GET, HEAD, POST, PUT, PATCH, DELETE',
      'access-control-allow-headers': 'Accept, Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match',
      'access-control-max-age': '7200'
    })
  })

  const refused: [name: string, statusCode: number, request: [string, string?, string?, object?]][] = [
    ['of a foreign origin', 403, [EVIL]],
    ['of the origin "null"', 403, ['null']],
    ['for a URL that there is not', 404, [CONSOLE, 'GET', '/nowhere']],
    ['for a method that the URL has not', 405, [CONSOLE, 'DELETE']],
    ['for a method that is none', 405, [CONSOLE, '<script>']],
    ['for a route that opts out', 403, [CONSOLE, 'POST', '/webhooks']],
    [
      'from the public into a private network',
      403,
      [CONSOLE, 'PATCH', '/apps/42', { 'access-control-request-private-network': 'true' }]
    ]
  ]
  for (const [name, statusCode, request] of refused)
    it(`${name} is ${statusCode}, in the envelope`, async t => {
      const app = await build(t)
      const reply = await preflight(app, ...request)
      assert.equal(reply.statusCode, statusCode)
      assert.equal(typeof reply.json().error.code, 'string')
      assert.equal(reply.headers['access-control-allow-methods'], undefined)
      assert.equal(reply.headers['access-control-max-age'], undefined)
      if (request[0] !== CONSOLE) assert.equal(reply.headers['access-control-allow-origin'], undefined)
    })

  it('is limited like any request', async t => {
    const app = await build(t)
    app.addHook('onRequest', (_request, _reply, done) => done(errors.rateLimit(1)))
    assert.equal((await preflight(app, CONSOLE)).statusCode, 429)
  })

  it('is not every OPTIONS request', async t => {
    const app = await build(t)
    const existing = await app.inject({ method: 'OPTIONS', url: '/apps/42' })
    assert.equal(existing.statusCode, 405)
    assert.equal(existing.headers.allow, 'GET, HEAD, PATCH')
    const withOrigin = await app.inject({ method: 'OPTIONS', url: '/apps/42', headers: { origin: CONSOLE } })
    assert.equal(withOrigin.statusCode, 405)
    assert.equal((await app.inject({ method: 'OPTIONS', url: '/nowhere' })).statusCode, 404)
  })
})

describe('the plugin', () => {
  const inexact = [
    '*',
    'null',
    '',
    'console.example',
    `${CONSOLE}/`,
    `${CONSOLE}/x`,
    'https://*.example',
    'ftp://a.example',
    'HTTPS://console.example'
  ]
  for (const origin of inexact)
    it(`refuses "${origin}" as an origin`, t =>
      assert.rejects(build(t, { origins: [origin] }), /rhone-cors: option "origins": ".*" is not an exact origin/))

  it('refuses an unknown option', t =>
    assert.rejects(build(t, { origin: '*' } as object), /rhone-cors: unknown option "origin"/))

  it('allows nobody by default, and accepts frozen options', async t => {
    assert.equal((await preflight(await build(t, {}), CONSOLE)).statusCode, 403)
    const options = Object.freeze({ origins: Object.freeze([CONSOLE]) as string[] })
    assert.equal((await preflight(await build(t, options), CONSOLE)).statusCode, 204)
  })
})
