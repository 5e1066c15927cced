import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { firstSignIn } from '../../src/wiring/first-sign-in.ts'
import { testApp } from '../support/app.ts'

const run = promisify(execFile)
const asRoot = {
  skip: (process.platform !== 'linux' || process.geteuid?.() !== 0) && 'only root on Linux runs apps as other users'
}
/** The first of the users that apps run as. */
const OF_AN_APP = { uid: 60_578, gid: 60_578 }
const ASK = `fetch(process.argv[1], { headers: JSON.parse(process.argv[2]), redirect: 'manual' })
  .then(reply => console.log(reply.status))`

/** The status that a program of an app gets. */
async function statusForApp(url: string, headers: Record<string, string> = {}): Promise<number> {
  const args = ['-e', ASK, url, JSON.stringify(headers)]
  const { stdout } = await run(process.execPath, args, { ...OF_AN_APP, cwd: '/', env: {} })
  return Number(stdout)
}

async function listening(t: TestContext) {
  const { app, config, token } = await testApp(t)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const signIn = await app.inject(`/auth/first?code=${firstSignIn(config)!.create()}`)
  const [cookie = ''] = String(signIn.headers['set-cookie']).split(';')
  return { token, cookie, port, url: `http://127.0.0.1:${port}` }
}

async function statusForUs(url: string, headers: Record<string, string> = {}): Promise<number> {
  const reply = await fetch(url, { headers, redirect: 'manual' })
  await reply.body?.cancel()
  return reply.status
}

test(
  'an app on this machine reads no metrics, though it names localhost, and cannot use a session',
  asRoot,
  async t => {
    const { token, cookie, port, url } = await listening(t)
    for (const host of [url, `http://localhost:${port}`]) {
      assert.equal(await statusForUs(`${host}/metrics`), 200)
      assert.equal(await statusForApp(`${host}/metrics`), 403)
    }
    assert.equal(await statusForUs(`${url}/api/v1/me`, { cookie }), 200)
    assert.equal(await statusForApp(`${url}/api/v1/me`, { cookie }), 401)
    assert.equal(await statusForApp(`${url}/api/v1/me`, { authorization: `Bearer ${token}` }), 200, 'a token works')
  }
)

test('in development, localhost redirects to 127.0.0.1, where no app has a name', async t => {
  const { app } = await testApp(t)
  const headers = { host: 'localhost:8080', 'sec-fetch-mode': 'navigate' }
  const reply = await app.inject({ url: '/login?next=%2Fapps', headers })
  assert.equal(reply.headers.location, 'http://127.0.0.1:8080/login?next=%2Fapps')
  const { host } = headers
  assert.equal((await app.inject({ url: '/login', headers: { host } })).statusCode, 200, 'programs may use any name')
})
