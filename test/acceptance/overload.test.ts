import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import postgres from 'postgres'
import { type FireReport, fire } from '../../bench/fire.ts'
import { watch } from '../../bench/watch.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/embedded-postgres/index.ts'
import { eventually, startServer } from '../support/process.ts'

/*
 * `npm run bench -- overload` in small. No absolute times and no close ratios: whatever else a machine does falls on the
 * server, the client and the database alike, but not on all of them at the same moment.
 */

const UNLIMITED = '1000000/s:1000000'
const FEW = 16
const CROWD = 500

async function crowdedServer(t: TestContext) {
  const path = await mkdtemp(join(tmpdir(), 'rhone-overload-'))
  let database: EmbeddedPostgres | undefined
  t.after(async () => {
    await database?.stop()
    await rm(path, { recursive: true, force: true })
  })
  const log = { info() {}, warn() {}, error() {} }
  database = await startEmbeddedPostgres({ dataDir: join(path, 'postgres'), log, durable: false })
  const server = await startServer(t, {
    DATABASE_URL: database.url,
    DATA_DIR: path,
    RATE_LIMIT_GENERAL: UNLIMITED,
    RATE_LIMIT_USER: UNLIMITED
  })
  const headers = { authorization: `Bearer ${server.token}` }
  const created = await fetch(`${server.url}/api/v1/apps`, {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json' },
    body: '{"name":"crowded"}'
  })
  assert.equal(created.status, 201)
  const url = `${server.url}/api/v1/apps/crowded`
  return {
    database,
    server,
    headers,
    ask: async () => (await fetch(url, { headers })).status,
    load: (connections: number, seconds: number) => fire({ url, headers, connections, seconds }),
    aside: () => watch(server.url, headers)
  }
}

test('a crowd that does not take no for an answer leaves the server at work, and what matters is answered', async t => {
  const { load, aside, ask } = await crowdedServer(t)
  const rate = ({ served, seconds }: FireReport) => served.count / seconds
  const usual = rate(await load(FEW, 1.5))

  const watching = aside()
  const crowded = await load(CROWD, 3)
  const seen = await watching.stop()

  // Whoever else uses the machine may have taken all of it just then.
  await eventually(
    async () => load(FEW, 1),
    ({ served, refused }) => served.count > 5 * refused.count
  )
  const expected = Math.min(usual, rate(await load(FEW, 1)))
  assert.ok(rate(crowded) >= expected / 5, `${rate(crowded)} requests per second, and ${expected} without the crowd`)
  assert.equal(crowded.malformed, 0, 'every refusal is an envelope and says when to come back')
  assert.equal(crowded.failed, 0)
  assert.equal(await ask(), 200)

  for (const path of ['/health', '/metrics'])
    assert.equal(seen[path]!.answered, seen[path]!.asked, `${path} is always answered`)
  const operators = seen['/admin/stats']!
  assert.ok(operators.answered >= operators.asked * 0.7, `operators: ${operators.answered} of ${operators.asked}`)
})

test('a database that answers nothing makes no line behind it, and is asked again when it does', async t => {
  const { database, server, load, aside, ask } = await crowdedServer(t)
  assert.equal(await ask(), 200)
  const sql = postgres(database.url, { max: 1, onnotice() {} })
  t.after(() => sql.end())

  await sql.begin(async locked => {
    await locked`lock table apps in access exclusive mode`
    const watching = aside()
    const stuck = await load(300, 3)
    const seen = await watching.stop()
    assert.ok(stuck.refused.count > 100, 'nobody is left without an answer')
    assert.equal(stuck.failed, 0)
    assert.equal(seen['/health']!.answered, seen['/health']!.asked)

    const metrics = await (await fetch(`${server.url}/metrics`)).text()
    const waiting = Number(/^rhone_db_pool_connections\{state="waiting"\} (.*)$/m.exec(metrics)?.[1])
    assert.ok(waiting < 96, `${waiting} wait for a connection`)
    assert.match(metrics, /^rhone_shed_total\{reason="queue_\w+",priority="normal"\} [1-9]/m)
  })
  await eventually(ask, status => status === 200)
})
