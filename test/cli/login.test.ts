import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { type CliStreams, main } from '../../src/cli/main.ts'
import type { Variables } from '../../src/config/index.ts'
import { decideDeviceLogin, findPendingLogin } from '../../src/domain/accounts/device-logins.ts'
import { testApp } from '../support/app.ts'

interface Said {
  code: number
  stdout: string
  stderr: string
}

async function folderOf(t: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), 'rhone-login-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** One command line of a user with a home directory, with live output. */
async function rhone(
  words: string,
  variables: Variables,
  more: Partial<CliStreams> & { onSaid?: (text: string) => void } = {}
) {
  const said: Said = { code: 0, stdout: '', stderr: '' }
  said.code = await main(words.split(' '), {
    stdout(text) {
      said.stdout += text
    },
    stderr(text) {
      said.stderr += text
      more.onSaid?.(said.stderr)
    },
    environment: () => variables,
    folder: variables.HOME ?? '/',
    ...more
  })
  return said
}

type Answer = [status: number, body?: object]

/** A server for device logins with scripted answers, one per poll. */
async function scripted(t: TestContext, script: (Answer | 'hang up')[], begun: Partial<{ expiresIn: number }> = {}) {
  const seen: { method: string; path: string; body: Record<string, unknown>; authorization: string | undefined }[] = []
  const server = createServer((request, reply) => void answer(request, reply)).listen(0, '127.0.0.1')
  t.after(() => server.close())
  t.after(() => server.closeAllConnections())
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  async function answer(request: IncomingMessage, reply: ServerResponse) {
    const { method = '', url: path = '', headers } = request
    const body = method === 'POST' ? ((await json(request)) as Record<string, unknown>) : {}
    seen.push({ method, path, body, authorization: headers.authorization })
    const [status, said] = outcome(path, reply) ?? []
    if (status !== undefined) reply.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(said))
  }

  function outcome(path: string, reply: ServerResponse): Answer | undefined {
    if (path === '/api/v1/me') return [200, { username: 'ada' }]
    if (path.startsWith('/api/v1/me/tokens/')) return [200, {}]
    if (path === '/api/v1/auth/device')
      return [
        201,
        {
          ...{ deviceCode: 'secret-device-code', userCode: 'WDJB-MJHT', expiresIn: 600, interval: 0, ...begun },
          verificationUri: 'http://localhost:8080/login/device',
          verificationUriComplete: 'http://localhost:8080/login/device?code=WDJB-MJHT'
        }
      ]
    const next = script.shift() ?? [200, { status: 'authorization_pending', interval: 0 }]
    if (next !== 'hang up') return next
    reply.destroy()
  }
  return { url, seen }
}

const pending: Answer = [200, { status: 'authorization_pending', interval: 0 }]
const approved: Answer = [200, { status: 'approved', interval: 0, token: 'rhone_new', tokenId: 't-1' }]
const refusal = (status: number, code: string): Answer => [
  status,
  { error: { code, message: code.toLowerCase(), requestId: 'r' } }
]
const kept = async (home: string) => JSON.parse(await readFile(join(home, '.config/rhone/credentials.json'), 'utf8'))

test('login stores a token of a real server, readable only by its user, and logout revokes it', async t => {
  const home = await folderOf(t)
  const server = await testApp(t)
  const url = await server.app.listen({ host: '127.0.0.1', port: 0 })
  const { db } = server.app
  const me = (await server.as(server.token, 'GET', '/api/v1/me')).json()
  let isApproved = false
  const approve = async (said: string) => {
    const [, code] = /^ {2}([A-Z]{4}-[A-Z]{4})$/m.exec(said) ?? []
    if (code === undefined || isApproved) return
    isApproved = true
    const login = await findPendingLogin(db, code)
    await decideDeviceLogin(db, login!.id, me.id, 'approved')
  }
  const variables = { HOME: home, DATA_DIR: home }
  const { code, stderr } = await rhone(`login --url ${url}`, variables, { onSaid: said => void approve(said) })
  assert.equal(code, 0, stderr)
  assert.match(stderr, new RegExp(`${url}/login/device\\?code=[A-Z]{4}-[A-Z]{4}`))
  assert.match(stderr, /Logged in to .* as operator; the token is stored in/)
  assert.equal((await stat(join(home, '.config/rhone/credentials.json'))).mode & 0o777, 0o600)
  assert.match((await rhone('whoami', variables)).stdout, /operator/)
  const { token } = (await kept(home)).servers[url]
  assert.doesNotMatch(stderr, new RegExp(token))

  assert.equal((await rhone('logout', variables)).code, 0)
  assert.equal((await server.as(token, 'GET', '/api/v1/me')).statusCode, 401)
})

test('login survives slow replies, lost connections and busy servers, and stores the token', async t => {
  const home = await folderOf(t)
  const script = [
    pending,
    'hang up' as const,
    refusal(503, 'SERVICE_UNAVAILABLE'),
    refusal(429, 'RATE_LIMIT'),
    approved
  ]
  const { url, seen } = await scripted(t, script)
  const { code, stderr } = await rhone(`login --url ${url} --scope deploy`, { HOME: home })
  assert.equal(code, 0, stderr)
  assert.deepEqual((await kept(home)).servers[url], { token: 'rhone_new', user: 'ada', tokenId: 't-1' })
  assert.deepEqual(seen[0]!.body.scopes, ['deploy'])
  assert.match(String(seen[0]!.body.name), /^rhone on ./)
  assert.ok(
    stderr.includes(`${url}/login/device?code=WDJB-MJHT`),
    'under the name that this machine has for the server'
  )
  assert.doesNotMatch(stderr, /secret-device-code|rhone_new/)
  assert.ok(seen.slice(0, -1).every(({ authorization }) => authorization === undefined))
})

test('a login that is denied, expired or unsupported tells the user what to do', async t => {
  const home = await folderOf(t)
  const cases: [Answer[], object, RegExp][] = [
    [[[200, { status: 'access_denied', interval: 0 }]], {}, /was denied in the browser/],
    [[[200, { status: 'expired_token', interval: 0 }]], {}, /expired before.*rhone login/],
    [[], { expiresIn: 0.05 }, /expired before anybody approved it.*rhone login/],
    [[refusal(400, 'VALIDATION_ERROR')], {}, /validation_error/]
  ]
  for (const [script, begun, why] of cases) {
    const { url } = await scripted(t, script, begun)
    const { code, stderr } = await rhone(`login --url ${url}`, { HOME: home })
    assert.equal(code, 1)
    assert.match(stderr, why)
  }
  const old = createServer((_, reply) =>
    reply
      .writeHead(404, { 'content-type': 'application/json' })
      .end('{"error":{"code":"NOT_FOUND","message":"Route not found","requestId":"r"}}')
  ).listen(0, '127.0.0.1')
  t.after(() => old.close())
  await once(old, 'listening')
  const { stderr } = await rhone(`login --url http://127.0.0.1:${(old.address() as AddressInfo).port}`, { HOME: home })
  assert.match(stderr, /does not support login by browser.*settings.*--token -/)
  await assert.rejects(kept(home), /ENOENT/)
})

test('Ctrl-C stops waiting immediately, and nothing is stored', async t => {
  const home = await folderOf(t)
  const { url } = await scripted(t, [[200, { status: 'authorization_pending', interval: 60 }]])
  const interrupted = new AbortController()
  const { code, stderr } = await rhone(
    `login --url ${url}`,
    { HOME: home },
    {
      interruption: () => interrupted.signal,
      onSaid: said => said.includes('/login/device') && setImmediate(() => interrupted.abort())
    }
  )
  assert.equal(code, 1)
  assert.match(stderr, /login stopped; nothing was saved/)
  await assert.rejects(kept(home), /ENOENT/)
})

test('a token that cannot be stored is revoked, and none is requested if it could not be stored', async t => {
  const home = await folderOf(t)
  await mkdir(join(home, '.config'))
  const { url, seen } = await scripted(t, [approved])
  const onSaid = (said: string) => {
    // The path was free when the login started.
    if (said.includes('/login/device')) writeFileSync(join(home, '.config/rhone'), 'a file in the place of the folder')
  }
  const { code, stderr } = await rhone(`login --url ${url}`, { HOME: home }, { onSaid })
  assert.deepEqual([code, /the login cannot be saved/.test(stderr)], [1, true])
  assert.deepEqual(
    seen.filter(({ method }) => method === 'DELETE').map(({ path, authorization }) => [path, authorization]),
    [['/api/v1/me/tokens/t-1', 'Bearer rhone_new']]
  )
  const homeless = await rhone(`login --url ${url}`, {})
  assert.match(homeless.stderr, /set HOME or XDG_CONFIG_HOME/)
})

test('a login that replaces another one on this machine revokes its token', async t => {
  const home = await folderOf(t)
  const { url, seen } = await scripted(t, [
    approved,
    [200, { status: 'approved', interval: 0, token: 'rhone_2', tokenId: 't-2' }]
  ])
  for (let i = 0; i < 2; i++) assert.equal((await rhone(`login --url ${url}`, { HOME: home })).code, 0)
  assert.equal((await kept(home)).servers[url].token, 'rhone_2')
  assert.deepEqual(
    seen.filter(({ method }) => method === 'DELETE').map(({ path, authorization }) => [path, authorization]),
    [['/api/v1/me/tokens/t-1', 'Bearer rhone_new']]
  )
})

test('each server has its own login, and damaged or world-readable files are refused with a hint', async t => {
  const home = await folderOf(t)
  const servers = [await scripted(t, [approved]), await scripted(t, [approved])]
  for (const { url } of servers) await rhone(`login --url ${url}`, { HOME: home })
  assert.deepEqual(
    Object.keys((await kept(home)).servers),
    servers.map(({ url }) => url)
  )
  assert.equal((await rhone(`logout --url ${servers[1]!.url}`, { HOME: home })).code, 0)
  assert.deepEqual(
    [Object.keys((await kept(home)).servers), (await kept(home)).current],
    [[servers[0]!.url], servers[0]!.url]
  )

  const path = join(home, '.config/rhone/credentials.json')
  await chmod(path, 0o640)
  assert.match((await rhone('whoami', { HOME: home })).stderr, /readable by other users.*chmod 600/)
  await chmod(path, 0o600)
  await writeFile(path, '{"servers":')
  assert.match((await rhone('whoami', { HOME: home })).stderr, /damaged: remove it and log in again/)
})

test('wrong usage has its own exit code', async t => {
  const HOME = await folderOf(t)
  assert.equal((await rhone('login --scope king', { HOME })).code, 2)
  const empty = await rhone('login --url http://127.0.0.1:9 --token -', { HOME }, { read: async () => '\n' })
  assert.deepEqual([empty.code, /standard input is empty/.test(empty.stderr)], [2, true])
})
