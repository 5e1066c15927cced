import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import Fastify, { type InjectOptions } from 'fastify'
import csrf, { type CsrfDeps, type CsrfOptions } from '../../plugins/csrf.ts'
import type { Principal } from '../../plugins/lib/principals.ts'
import { randomKeyring } from '../../plugins/lib/signer.ts'

const OURS = 'https://rhone.example.com'
const SIBLING = 'https://evil-app.rhone.example.com'
const FORM = { 'content-type': 'application/x-www-form-urlencoded' }
const SAME_ORIGIN = { 'sec-fetch-site': 'same-origin', origin: OURS }

const ada = (via: Principal['via']): Principal => {
  return { userId: 'u', username: 'ada', isOperator: false, via, credentialId: 'c', scopes: ['admin'] }
}

/** An app in which a header selects how a request is authenticated, instead of the auth plugin. */
async function setup(t: TestContext, options: Partial<CsrfOptions> = {}, deps: CsrfDeps = {}) {
  const app = Fastify()
  t.after(() => app.close())
  let session: string | undefined
  app.decorate('session', { secretOf: () => session } as never)
  app.decorateRequest('principal', null)
  app.addHook('onRequest', (request, _reply, next) => {
    const via = request.headers['x-via'] as Principal['via'] | undefined
    request.principal = via === undefined ? null : ada(via)
    next()
  })
  app.addContentTypeParser(FORM['content-type'], { parseAs: 'string' }, (_request, body, done) =>
    done(null, Object.fromEntries(new URLSearchParams(String(body))))
  )
  await app.register(csrf, Object.freeze({ origin: OURS, ...options, ...deps }))
  app.get('/form', (request, reply) => app.csrf.token(request, reply))
  app.get('/', () => 'ok')
  app.route({ method: ['POST', 'PUT', 'PATCH', 'DELETE'], url: '/', handler: () => 'ok' })
  app.post('/login', { config: { csrf: true } }, () => 'ok')
  const send = async (url: string, headers: Record<string, string>, payload?: InjectOptions['payload']) => {
    const [method, path] = url.split(' ') as ['POST', string]
    return (await app.inject({ method, url: path, headers, ...(payload !== undefined && { payload }) })).statusCode
  }
  const become = (secret: string) => {
    session = secret
  }
  const form = async (headers: Record<string, string> = {}) => {
    const reply = await app.inject({ url: '/form', headers })
    return { token: reply.body, cookie: String(reply.headers['set-cookie'] ?? '').split(';')[0]! }
  }
  return { app, send, form, become }
}

const fieldsOf = (token: string) => new URLSearchParams({ _csrf: token }).toString()

describe('a browser that is signed in', () => {
  test('can change something only from our own pages', async t => {
    const { send } = await setup(t)
    const cases: [Record<string, string>, number][] = [
      [SAME_ORIGIN, 200],
      [{ origin: OURS }, 200],
      [{ 'sec-fetch-site': 'same-origin' }, 200],
      [{}, 403],
      [{ 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' }, 403],
      [{ 'sec-fetch-site': 'same-site', origin: SIBLING }, 403],
      [{ 'sec-fetch-site': 'same-origin', origin: SIBLING }, 403],
      [{ 'sec-fetch-site': 'same-site', origin: OURS }, 403],
      [{ 'sec-fetch-site': 'none' }, 403],
      [{ origin: 'null' }, 403],
      [{ origin: 'http://rhone.example.com' }, 403],
      [{ origin: `${OURS}.evil.example` }, 403],
      [{ origin: `${OURS}:8443` }, 403]
    ]
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE'])
      for (const [headers, status] of cases)
        assert.equal(await send(`${method} /`, { 'x-via': 'session', ...headers }), status, JSON.stringify(headers))
  })

  test('can read regardless of the referring site', async t => {
    const { send } = await setup(t)
    assert.equal(await send('GET /', { 'x-via': 'session', 'sec-fetch-site': 'cross-site' }), 200)
  })

  test('sends forms only with a token of its own session', async t => {
    const { send, form, become } = await setup(t)
    become('session-of-ada')
    const { token, cookie } = await form()
    assert.equal(cookie, '', 'a session needs no other cookie')
    const post = (body: string) => send('POST /', { 'x-via': 'session', ...SAME_ORIGIN, ...FORM }, body)
    assert.equal(await post(fieldsOf(token)), 200)
    for (const wrong of ['', token.slice(0, -1), `${token}x`, token.replace('.', '')])
      assert.equal(await post(fieldsOf(wrong)), 403, wrong)
    assert.equal(await post('a=b'), 403)
    become('session-of-eve')
    assert.equal(await post(fieldsOf(token)), 403)
  })

  test('cannot avoid the token by spelling the content type differently', async t => {
    const { send, become } = await setup(t)
    become('session-of-ada')
    const type = { 'content-type': 'Application/X-WWW-Form-Urlencoded; charset=utf-8' }
    assert.notEqual(await send('POST /', { 'x-via': 'session', ...SAME_ORIGIN, ...type }, 'a=b'), 200)
  })
})

describe('signing in', () => {
  test('accepts a form issued to the same browser', async t => {
    const { send, form } = await setup(t)
    const [own, foreign] = [await form(), await form()]
    assert.match(own.cookie, /^__Host-rhone_visitor=[\w-]{22}$/)
    const post = (cookie: string, token: string, from: Record<string, string> = SAME_ORIGIN) =>
      send('POST /login', { ...from, ...FORM, cookie }, fieldsOf(token))
    assert.equal(await post(own.cookie, own.token), 200)
    assert.equal(await post(own.cookie, foreign.token), 403)
    assert.equal(await post('', own.token), 403)
    assert.equal(await post(own.cookie, own.token, { 'sec-fetch-site': 'same-site', origin: SIBLING }), 403)
  })

  test('keeps the cookie that the browser already has', async t => {
    const { form } = await setup(t)
    const first = await form()
    const second = await form({ cookie: first.cookie })
    assert.deepEqual([second.cookie, second.token], ['', first.token])
  })
})

test('a request authenticated by a header needs no token', async t => {
  const { send } = await setup(t)
  for (const via of ['token', 'access-token'])
    assert.equal(await send('POST /', { 'x-via': via, 'sec-fetch-site': 'cross-site', origin: SIBLING }), 200)
  assert.equal(await send('POST /', { origin: SIBLING }), 200, 'without a caller there is nothing to abuse')
})

test('a token outlives the key it was signed with, as long as that is in the ring', async t => {
  const old = randomKeyring()
  const current = { id: 'new', key: randomKeyring().current.key }
  const rotated = { current, keys: new Map([[current.id, current.key], ...old.keys]) }
  const [before, after, stranger] = [
    await setup(t, {}, { keys: old }),
    await setup(t, {}, { keys: rotated }),
    await setup(t)
  ]
  const { token, cookie } = await before.form()
  const headers = { ...SAME_ORIGIN, ...FORM, cookie }
  assert.equal(await after.send('POST /login', headers, fieldsOf(token)), 200)
  assert.equal(await stranger.send('POST /login', headers, fieldsOf(token)), 403)
})

test('the default origin is that of the Host; without https, cookies have no prefix', async t => {
  const { send, form } = await setup(t, { origin: '', secure: false })
  const headers = { 'x-via': 'session', host: 'localhost:8080' }
  assert.equal(await send('POST /', { ...headers, origin: 'http://localhost:8080' }), 200)
  assert.equal(await send('POST /', { ...headers, origin: 'http://localhost:8081' }), 403)
  assert.match((await form()).cookie, /^rhone_visitor=/)
})

test('an unknown option fails the boot', () =>
  assert.rejects(async () => Fastify().register(csrf, { secret: 'x' } as never), /rhone-csrf: unknown option "secret"/))

test('without sessions, a form is valid only for the browser that it was issued to', async t => {
  const app = Fastify()
  t.after(() => app.close())
  app.addContentTypeParser(FORM['content-type'], { parseAs: 'string' }, (_request, body, done) =>
    done(null, Object.fromEntries(new URLSearchParams(String(body))))
  )
  await app.register(csrf, { origin: OURS })
  app.get('/form', (request, reply) => app.csrf.token(request, reply))
  app.post('/login', { config: { csrf: true } }, () => 'ok')
  const visit = async () => {
    const { body, headers } = await app.inject('/form')
    return { payload: fieldsOf(body), cookie: String(headers['set-cookie']).split(';')[0]! }
  }
  const submit = async (payload: string, cookie: string) =>
    (await app.inject({ method: 'POST', url: '/login', payload, headers: { ...SAME_ORIGIN, ...FORM, cookie } }))
      .statusCode
  const [mine, other] = [await visit(), await visit()]
  assert.equal(await submit(mine.payload, mine.cookie), 200)
  assert.equal(await submit(mine.payload, other.cookie), 403)
})
