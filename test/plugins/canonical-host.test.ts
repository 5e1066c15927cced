import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import Fastify from 'fastify'
import canonicalHost from '../../plugins/canonical-host.ts'

const OPTIONS = { host: '127.0.0.1', aliases: ['localhost'] }
const BROWSER = { 'sec-fetch-mode': 'navigate', host: 'localhost:8080' }

async function server(t: TestContext, options: object = OPTIONS) {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(canonicalHost, Object.freeze(options))
  app.route({ method: ['GET', 'POST'], url: '/page', handler: async () => 'page' })
  return app
}

test('a browser that opens an alias is redirected to the same page of the host', async t => {
  const app = await server(t)
  const reply = await app.inject({ url: '/page?code=1&state=a%20b', headers: BROWSER })
  assert.equal(reply.statusCode, 303)
  assert.equal(reply.headers.location, 'http://127.0.0.1:8080/page?code=1&state=a%20b')
  assert.equal(reply.headers['cache-control'], 'no-store')
})

test('unknown pages, other spellings and a name without a port are redirected, too', async t => {
  const app = await server(t)
  const to = async (url: string, host: string) =>
    (await app.inject({ url, headers: { ...BROWSER, host } })).headers.location
  assert.equal(await to('/nowhere', 'LOCALHOST:81'), 'http://127.0.0.1:81/nowhere')
  assert.equal(await to('/', 'localhost'), 'http://127.0.0.1/')
})

test('a path cannot redirect a browser to another server', async t => {
  const app = await server(t)
  const reply = await app.inject({ url: '//evil.example/', headers: BROWSER })
  assert.equal(new URL(String(reply.headers.location)).hostname, '127.0.0.1')
})

test('a form sent to an alias changes nothing and redirects to the start page', async t => {
  const app = await server(t)
  const reply = await app.inject({ method: 'POST', url: '/page', headers: BROWSER })
  assert.deepEqual([reply.statusCode, reply.headers.location], [303, 'http://127.0.0.1:8080/'])
})

test('the host itself, unknown names and programs are not redirected', async t => {
  const app = await server(t)
  for (const headers of [
    { ...BROWSER, host: '127.0.0.1:8080' },
    { ...BROWSER, host: 'rhone.example' },
    { host: 'localhost:8080' },
    { host: 'localhost:8080', 'sec-fetch-mode': 'cors' }
  ])
    assert.equal((await app.inject({ url: '/page', headers })).statusCode, 200, JSON.stringify(headers))
})

test('without a host there are no redirects', async t => {
  const app = await server(t, { aliases: ['localhost'] })
  assert.equal((await app.inject({ url: '/page', headers: BROWSER })).statusCode, 200)
})

test('a host that is a URL, or one of its own aliases, fails the boot', async () => {
  for (const options of [
    { ...OPTIONS, host: 'http://localhost' },
    { host: 'localhost', aliases: ['localhost'] }
  ])
    await assert.rejects(async () => Fastify().register(canonicalHost, options), /rhone-canonical-host: option "/)
})
