import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Client } from '../support/clients.ts'
import { freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'
import { haproxy } from '../support/haproxy.ts'
import { type RunningServer, startServer } from '../support/process.ts'
import { redisServer } from '../support/redis.ts'
import { repeatedly } from '../support/repeatedly.ts'

const LIMIT = 100

test('two instances behind haproxy, with one PostgreSQL and one Redis, act as one server', async t => {
  const redis = await redisServer(t)
  if (redis === undefined) return
  const dataDir = await directory(t)
  const env = {
    DATABASE_URL: await freshDatabase(t),
    DATA_DIR: dataDir,
    REDIS_URL: redis.url,
    TRUST_PROXY: '127.0.0.1/32',
    RATE_LIMIT_GENERAL: `1/h:${LIMIT}`,
    RATE_LIMIT_USER: '100000/s:100000',
    // A busy machine must not affect the result.
    RHONE_SWAP: 'pressure=off,rate-limit=./test/fixtures/swaps/patient-limiter.ts'
  }
  const [one, other] = await Promise.all([startServer(t, env), startServer(t, env)])
  const proxy = await haproxy(
    t,
    [one, other].map(({ port }) => `127.0.0.1:${port} check inter 200ms fall 1`),
    // A dead instance refuses connections; one that is only slow on a busy machine does not.
    ['balance roundrobin', 'option httpchk GET /ready', 'option redispatch', 'timeout check 5s']
  )
  if (proxy === undefined) return
  const token = one.token || other.token
  await eventually(
    async () => (await appsBehind(proxy, 20)).size,
    count => count === 2
  )

  await t.test('a limit applies across both', async () => {
    const apps = new Set<string>()
    const statuses: number[] = []
    const client = new Client(proxy, { localAddress: '127.0.0.3' })
    for (let i = 0; i < LIMIT + 50; i++) {
      const { status, app } = await client.get('/api/v1/ping')
      apps.add(app)
      statuses.push(status)
    }
    assert.equal(apps.size, 2)
    assert.deepEqual(
      statuses.map(status => status === 200),
      statuses.map((_, index) => index < LIMIT)
    )
  })

  await t.test('maintenance closes and opens both', async () => {
    for (const [enabled, expected] of [
      [true, 503],
      [false, 200]
    ] as const) {
      await post(one, token, '/admin/maintenance', { enabled })
      await eventually(
        () => statusesOf([one, other], '/api/v1/regions'),
        statuses => statuses.every(status => status === expected),
        5_000
      )
    }
  })

  await t.test('a token revoked on one is refused by the other', async () => {
    const { id, token: doomed } = await post(one, token, '/api/v1/me/tokens', { name: 'doomed', scopes: ['read'] })
    assert.deepEqual(await statusesOf([one, other], '/api/v1/me', doomed), [200, 200])
    const reply = await fetch(`${one.url}/api/v1/me/tokens/${id}`, { method: 'DELETE', headers: bearer(token) })
    assert.equal(reply.status, 204)
    await eventually(
      () => statusesOf([one, other], '/api/v1/me', doomed),
      statuses => statuses.every(status => status === 401),
      5_000
    )
  })

  await t.test('killing one loses only its requests in flight', async () => {
    const clients = Array.from({ length: 4 }, (_, index) => new Client(proxy, { localAddress: `127.0.1.${index + 1}` }))
    const failures: string[] = []
    let answered = 0
    const ask = async (client: Client) => {
      const outcome = await client.get('/health').then(
        ({ status }) => status,
        error => error.code
      )
      if (outcome === 200) answered++
      else failures.push(String(outcome))
    }
    const load = clients.map(client => repeatedly(t.signal, () => ask(client)))
    await eventually(
      () => answered,
      count => count > 50
    )
    other.child.kill('SIGKILL')
    await other.exited
    const atDeath = answered
    await eventually(
      () => answered,
      count => count > atDeath + 100
    )
    await Promise.all(load.map(client => client.stop()))
    // A client can lose one request with its connection, and the next one with the accept queue, which closes later.
    assert.ok(failures.length <= 2 * clients.length, `${failures}`)
  })

  await t.test('the remaining one shuts down cleanly', async () => {
    one.child.kill('SIGTERM')
    assert.equal(await one.exited, 0)
  })
})

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'rhone-instances-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

/** The apps that answer a number of requests. */
async function appsBehind(port: number, times: number): Promise<Set<string>> {
  const client = new Client(port)
  const apps = new Set<string>()
  for (let i = 0; i < times; i++) apps.add((await client.get('/health')).app)
  return apps
}

const bearer = (token: unknown) => ({ authorization: `Bearer ${token}` })

function statusesOf(servers: readonly RunningServer[], path: string, token?: unknown): Promise<number[]> {
  const headers = token === undefined ? {} : bearer(token)
  return Promise.all(servers.map(async ({ url }) => (await fetch(url + path, { headers })).status))
}

async function post(server: RunningServer, token: string, path: string, body: object) {
  const headers = { ...bearer(token), 'content-type': 'application/json' }
  const reply = await fetch(server.url + path, { method: 'POST', headers, body: JSON.stringify(body) })
  assert.ok(reply.ok, `${path} answered ${reply.status}`)
  return (await reply.json()) as Record<string, unknown>
}
