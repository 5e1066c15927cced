import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Client, keepAsking, type Outcome } from '../support/clients.ts'
import { eventually } from '../support/eventually.ts'
import { type RunningServer, startServer } from '../support/process.ts'

const LIMIT = 200
const cannotShare = process.platform === 'linux' ? false : 'only Linux spreads the connections of a shared port'

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'rhone-workers-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

/** One client per worker. Connections are opened until the system has assigned one to each of the two. */
async function clientOfEach(port: number, localAddress: string): Promise<[Client, Client]> {
  const clients = new Map<string, Client>()
  await eventually(
    async () => {
      const client = new Client(port, { localAddress })
      const { app } = await client.get('/health')
      if (clients.has(app)) client.hangUp()
      else clients.set(app, client)
      return clients.size
    },
    size => size === 2
  )
  return [...clients.values()] as [Client, Client]
}

const pingsCounted = async (port: number) => {
  const { body } = await new Client(port).get('/metrics')
  return [...body.matchAll(/^rhone_http_requests_total\{method="GET",path="\/api\/v1\/ping",.*\} (\d+)$/gm)].reduce(
    (sum, [, count]) => sum + Number(count),
    0
  )
}

test('two workers with an embedded PostgreSQL act as one server', { skip: cannotShare }, async t => {
  const server = await startServer(t, {
    RHONE_WORKERS: '2',
    DATA_DIR: await directory(t),
    RATE_LIMIT_GENERAL: `1/h:${LIMIT}`,
    RATE_LIMIT_USER: '100000/s:100000',
    // Without shedding: the load of the machine must not affect the test.
    RHONE_SWAP: 'pressure=off,cors=./test/fixtures/swaps/time-bomb.ts'
  })
  const { port, child, exited, logs } = server
  const operator = { authorization: `Bearer ${server.token}` }
  let pings = 0

  await t.test('it is ready once both serve', async () => {
    await clientOfEach(port, '127.0.0.2')
    const announced = () => logs().filter(({ msg }) => msg === 'ready').length
    await eventually(announced, times => times > 0) // lines are written together, a moment later
    assert.equal(announced(), 1)
  })

  await t.test('a limit is shared by all workers', async () => {
    const apps = new Set<string>()
    const statuses: number[] = []
    await Promise.all(
      Array.from({ length: 30 }, async () => {
        const client = new Client(port, { localAddress: '127.0.0.3' })
        for (let i = 0; i < 10; i++) {
          const { status, app } = await client.get('/api/v1/ping')
          apps.add(app)
          statuses.push(status)
        }
        client.hangUp()
      })
    )
    pings += statuses.length
    assert.equal(apps.size, 2)
    assert.equal(statuses.filter(status => status === 200).length, LIMIT)
    assert.equal(statuses.filter(status => status === 429).length, 300 - LIMIT)
  })

  await t.test('a scrape of either covers the requests of both', async () => {
    assert.equal(
      await eventually(
        () => pingsCounted(port),
        count => count === pings
      ),
      pings
    )
  })

  await t.test('a token revoked on one is refused by the other', async () => {
    const [one, other] = await clientOfEach(port, '127.0.0.4')
    const { id, token } = await post(server, '/api/v1/me/tokens', { name: 'short-lived', scopes: ['read'] })
    const status = async (client: Client) => (await client.get('/api/v1/me', bearer(token))).status
    assert.deepEqual(await Promise.all([status(one), status(other)]), [200, 200])
    const reply = await fetch(`${server.url}/api/v1/me/tokens/${id}`, { method: 'DELETE', headers: operator })
    assert.equal(reply.status, 204)
    await eventually(
      () => Promise.all([status(one), status(other)]),
      statuses => statuses.every(status => status === 401),
      5_000
    )
  })

  await t.test('maintenance closes and opens both', async () => {
    const clients = await clientOfEach(port, '127.0.0.5')
    for (const [enabled, expected] of [
      [true, 503],
      [false, 200]
    ] as const) {
      await post(server, '/admin/maintenance', { enabled })
      await eventually(
        async () => {
          pings += clients.length
          return Promise.all(clients.map(async client => (await client.get('/api/v1/ping')).status))
        },
        statuses => statuses.every(status => status === expected),
        5_000
      )
    }
  })

  await t.test('a failed worker is replaced, the other keeps serving, and no count is lost', async () => {
    const [doomed, other] = await clientOfEach(port, '127.0.0.6')
    const before = [(await doomed.get('/health')).app, (await other.get('/health')).app]
    await doomed.get('/bomb')
    await eventually(
      async () => {
        pings++
        const { status, app } = await other.get('/api/v1/ping')
        assert.deepEqual([status, app], [200, before[1]])
        const client = new Client(port, { localAddress: '127.0.0.7' })
        const newcomer = await client.get('/health').catch(() => undefined)
        client.hangUp()
        return newcomer !== undefined && !before.includes(newcomer.app)
      },
      isReplaced => isReplaced,
      30_000
    )
    await eventually(() => logs().some(({ msg, level }) => level === 'error' && /^a worker was lost/.test(String(msg))))
    await eventually(
      () => pingsCounted(port),
      count => count === pings
    )
  })

  await t.test('SIGTERM under load: every accepted request is answered, and the process exits with 0', async () => {
    const outcomes = Array.from({ length: 8 }, (): Outcome => ({ statuses: [], cutOff: [] }))
    const asking = keepAsking(port, outcomes, '/health')
    await eventually(
      () => outcomes.every(({ statuses }) => statuses.length >= 10),
      isUnderLoad => isUnderLoad
    )
    child.kill('SIGTERM')
    await asking
    assert.equal(await exited, 0)
    for (const { statuses, cutOff } of outcomes) {
      assert.deepEqual(
        statuses.filter(status => status !== 200),
        []
      )
      assert.deepEqual(cutOff, [])
    }
    assert.equal(logs().at(-1)?.msg, 'stopped')
  })
})

test('workers that cannot start end the process with the reason', { skip: cannotShare }, async t => {
  const taken = createServer().listen(0, '127.0.0.1')
  t.after(() => taken.close())
  await once(taken, 'listening')
  const { port } = taken.address() as { port: number }
  const DATABASE_URL = 'postgres://nobody@127.0.0.1:1/none'
  const DATA_DIR = await directory(t)

  const [misconfigured, late] = await Promise.all([
    run({ DATABASE_URL, DATA_DIR, PORT: '0', RHONE_SWAP: 'typo=off' }),
    run({ DATABASE_URL, DATA_DIR, PORT: String(port) })
  ])
  assert.equal(misconfigured.code, 78)
  assert.match(misconfigured.stderr, /there is no slot "typo"/)
  assert.equal(late.code, 1)
  assert.match(late.stderr, /port \d+ of 127\.0\.0\.1 is in use by another program/)
})

const bearer = (token: unknown) => ({ authorization: `Bearer ${token}` })

async function post({ url, token }: RunningServer, path: string, body: object): Promise<Record<string, unknown>> {
  const headers = { ...bearer(token), 'content-type': 'application/json' }
  const reply = await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) })
  assert.ok(reply.ok, `${path} answered ${reply.status}`)
  return (await reply.json()) as Record<string, unknown>
}

function run(env: Record<string, string>): Promise<{ code: unknown; stderr: string }> {
  const root = resolve(import.meta.dirname, '../..')
  const options = { cwd: root, env: { PATH: process.env.PATH, RHONE_WORKERS: '2', ...env } }
  return new Promise(done => {
    execFile(process.execPath, ['src/server.ts'], options, (error, _stdout, stderr) =>
      done({ code: error?.code ?? 0, stderr })
    )
  })
}
