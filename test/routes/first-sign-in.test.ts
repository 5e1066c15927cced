import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { firstSignIn } from '../../src/wiring/first-sign-in.ts'
import { testApp, testConfig } from '../support/app.ts'

const { app, config } = await testApp({ after } as never, { RATE_LIMIT_AUTH: '10000/s:10000' })
const links = firstSignIn(config)!

const open = (code: string, more: { host?: string; from?: string } = {}) =>
  app.inject({
    method: 'GET',
    url: `/auth/first?code=${encodeURIComponent(code)}`,
    headers: { accept: 'text/html', host: more.host ?? 'localhost:8080' },
    remoteAddress: more.from ?? '127.0.0.1'
  })

test('the link signs the first operator in, once', async () => {
  const code = links.create()
  const reply = await open(code)
  assert.deepEqual([reply.statusCode, reply.headers.location], [303, '/dashboard'])
  const cookie = String(reply.headers['set-cookie']).split(';', 1)[0]!
  const admin = await app.inject({ url: '/admin', headers: { accept: 'text/html', host: 'localhost:8080', cookie } })
  assert.equal(admin.statusCode, 200, 'they are an operator')

  const again = await open(code)
  assert.equal(again.statusCode, 404)
  assert.match(again.body, /no longer works/)
  assert.equal(again.headers['set-cookie'], undefined)
})

test('of many concurrent uses of the link, one succeeds', async () => {
  const code = links.create()
  const replies = await Promise.all(Array.from({ length: 8 }, () => open(code)))
  assert.equal(replies.filter(({ statusCode }) => statusCode === 303).length, 1)
})

test('it works only on the machine of the server, under any name', async () => {
  const code = links.create()
  assert.equal((await open(code, { from: '203.0.113.7' })).statusCode, 404)
  assert.equal((await open(code, { host: 'rebound.example.com' })).statusCode, 404)
  assert.equal((await open(code, { host: '127.0.0.1:8080', from: '::1' })).statusCode, 303, 'it was not used up')
})

test('it works for ten minutes, and never with a changed code', async () => {
  const now = Date.now()
  assert.equal((await open(links.create(now - 599_000))).statusCode, 303)
  assert.equal((await open(links.create(now - 600_001))).statusCode, 404)
  const code = links.create()
  const later = String(Number(code.slice(0, 13)) + 1) + code.slice(13)
  for (const wrong of [later, `${code}x`, code.slice(0, -1), 'nonsense'])
    assert.equal((await open(wrong)).statusCode, 404)
})

test('the link exists only in development, and only without another way to sign in', async t => {
  for (const variables of [{ LOCAL_ACCOUNTS: 'true' }, { GITHUB_CLIENT_ID: 'id', GITHUB_CLIENT_SECRET: 'secret' }])
    assert.equal(firstSignIn(await testConfig(t, variables)), null)
  assert.equal(firstSignIn({ ...config, environment: 'production' }), null)
})
