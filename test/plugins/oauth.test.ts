import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { Registry } from '@platformatic/prom-client'
import Fastify from 'fastify'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import { OAuth2Server } from 'oauth2-mock-server'
import { githubProvider } from '../../integrations/github/sign-in.ts'
import oauth, { type OauthDeps, type OauthOptions, type OauthProvider } from '../../plugins/oauth/index.ts'
import { TestBrowser } from '../support/browser.ts'
import { setAhead } from '../support/clock.ts'

const IDENTITY = { id: 1, username: 'ada', email: 'ada@example.com', avatarUrl: null }

/** A provider that accepts every code, and records its requests. */
function agreeable(): OauthProvider & { readonly asked: { code: string; verifier: string }[] } {
  const asked: { code: string; verifier: string }[] = []
  return {
    asked,
    authorizeUrl: ({ state, challenge }) => `https://provider.example/?state=${state}&challenge=${challenge}`,
    identify: async request => {
      asked.push(request)
      return IDENTITY
    }
  }
}

async function setup(t: TestContext, options: Partial<OauthOptions> = {}, deps: OauthDeps = {}) {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(oauth, Object.freeze({ ...options, ...deps }))
  app.get('/begin', (_request, reply) => reply.redirect(app.oauth.begin(reply, '/next?a=ü')))
  app.get('/auth/callback', (request, reply) => app.oauth.complete(request, reply))
  const begin = async () => {
    const reply = await app.inject('/begin')
    const cookie = String(reply.headers['set-cookie']).split(';')[0]!
    return { cookie, query: new URL(String(reply.headers.location)).searchParams, reply }
  }
  const complete = (state: string | null, cookie: string) =>
    app.inject({ url: `/auth/callback?code=c&state=${state}`, headers: { cookie } })
  return { app, begin, complete }
}

test('without a provider, sign-in is not configured', async t => {
  const { app } = await setup(t)
  assert.equal(app.oauth.isConfigured, false)
  assert.equal((await app.inject('/begin')).statusCode, 501)
  assert.equal((await app.inject('/auth/callback?code=x&state=y')).statusCode, 501)
})

test('a started sign-in can be completed once, and redirects to its destination', async t => {
  const provider = agreeable()
  const { begin, complete } = await setup(t, {}, { provider })
  const { cookie, query } = await begin()
  const reply = await complete(query.get('state'), cookie)
  assert.deepEqual(reply.json(), { identity: IDENTITY, returnTo: '/next?a=ü' })
  assert.match(String(reply.headers['set-cookie']), /^rhone_sign_in=; Path=\/; Max-Age=0; HttpOnly; SameSite=Lax$/)
  assert.equal(provider.asked[0]!.verifier, cookie.split('=')[1]!.split('.')[0])
  assert.equal((await complete(query.get('state'), cookie)).statusCode, 400)
  assert.equal(provider.asked.length, 1, 'a code is not even tried the second time')
})

test('of two started sign-ins, neither state is valid with the cookie of the other', async t => {
  const { begin, complete } = await setup(t, {}, { provider: agreeable() })
  const [one, two] = [await begin(), await begin()]
  assert.equal((await complete(one.query.get('state'), two.cookie)).statusCode, 400)
  assert.equal((await complete(two.query.get('state'), one.cookie)).statusCode, 400)
  assert.equal((await complete(two.query.get('state'), two.cookie)).statusCode, 200)
})

test('a sign-in that takes too long expires, even if the browser keeps its cookie', async t => {
  const { begin, complete } = await setup(t, { lifetime: 1 }, { provider: agreeable() })
  const { cookie, query } = await begin()
  setAhead(t, Date, 1_050)
  const reply = await complete(query.get('state'), cookie)
  assert.deepEqual([reply.statusCode, /took too long/.test(reply.body)], [400, true])
})

test('over HTTPS the cookie is Secure and bound to this host; one without the prefix is ignored', async t => {
  const redirectUri = 'https://rhone.example.com/auth/callback'
  const { begin, complete } = await setup(t, { redirectUri }, { provider: agreeable() })
  const { cookie, query, reply } = await begin()
  assert.match(String(reply.headers['set-cookie']), /^__Host-rhone_sign_in=.*; Secure$/)
  assert.equal((await complete(query.get('state'), cookie.replace('__Host-', ''))).statusCode, 400)
  assert.equal((await complete(query.get('state'), cookie)).statusCode, 200)
})

test('an unknown option fails the boot', () =>
  assert.rejects(async () => Fastify().register(oauth, { clientId: 'x' } as never), /rhone-oauth: .*"clientId"/))

/** The API of a GitHub whose sign-in is done by another server: it takes that server's tokens. */
async function apiOver(t: TestContext, issuer: string): Promise<string> {
  const keys = createRemoteJWKSet(new URL(`${issuer}/jwks`))
  const server = createServer(async (request, response) => {
    const token = request.headers.authorization?.replace('Bearer ', '') ?? ''
    const isValid = await jwtVerify(token, keys, { issuer }).then(
      () => true,
      () => false
    )
    const body = request.url!.startsWith('/user/emails')
      ? [{ email: 'ada@example.com', primary: true, verified: true, visibility: null }]
      : { id: 42, login: 'ada', avatar_url: 'https://avatars.githubusercontent.com/u/42' }
    response.writeHead(isValid ? 200 : 401, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('this client works with an independent OAuth server, including PKCE', async t => {
  const server = new OAuth2Server(undefined, undefined, {
    endpoints: { authorize: '/login/oauth/authorize', token: '/login/oauth/access_token' }
  })
  await server.issuer.keys.generate('ES256')
  await server.start(0, '127.0.0.1')
  t.after(() => server.stop())
  const url = `http://127.0.0.1:${server.address().port}`
  server.issuer.url = url

  const registry = new Registry()
  const apiUrl = await apiOver(t, url)
  const settings = { clientId: 'rhone', clientSecret: 'secret', url, apiUrl, signInPage: '/login', registry }
  const { app } = await setup(t, {}, { provider: githubProvider(settings) })
  const own = await app.listen({ host: '127.0.0.1', port: 0 })
  const browser = new TestBrowser()
  const begun = await browser.open(`${own}/begin`, { follow: false })
  const back = await browser.open(begun.headers.get('location')!, { follow: false })
  const { search } = new URL(back.headers.get('location')!)
  const done = await browser.open(`${own}/auth/callback${search}`)
  assert.deepEqual(JSON.parse(done.body).identity, {
    id: 42,
    username: 'ada',
    email: 'ada@example.com',
    avatarUrl: 'https://avatars.githubusercontent.com/u/42'
  })
  assert.match(await registry.metrics(), /operation="exchange_code",outcome="success"/)
})
