import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import postgres from 'postgres'
import { fire, type LoadReport } from '../../bench/fire.ts'
import { type AsideReport, watch } from '../../bench/watch.ts'
import { freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'
import { type RunningServer, startServer } from '../support/process.ts'

/*
 * A small version of `npm run bench -- overload`. No absolute times or close ratios: other load on the machine affects the
 * server, the client and the database alike, but not all of them at the same moment.
 */

const UNLIMITED = '1000000/s:1000000'
const FEW = 16
const CROWD = 500

interface Crowded {
  readonly databaseUrl: string
  readonly server: RunningServer
  /** The status of one request. */
  ask(): Promise<number>
  load(connections: number, seconds: number): Promise<LoadReport>
  aside(): ReturnType<typeof watch>
}

async function crowdedServer(t: TestContext): Promise<Crowded> {
  const path = await mkdtemp(join(tmpdir(), 'rhone-overload-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  const databaseUrl = await freshDatabase(t)
  const server = await startServer(t, {
    DATABASE_URL: databaseUrl,
    DATA_DIR: path,
    RATE_LIMIT_GENERAL: UNLIMITED,
    RATE_LIMIT_USER: UNLIMITED,
    RHONE_SWAP: ''
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
    databaseUrl,
    server,
    ask: async () => (await fetch(url, { headers })).status,
    load: (connections, seconds) => fire({ url, headers, connections, seconds }),
    aside: () => watch(server.url, headers)
  }
}

test('an overloaded server', async t => {
  const crowded = await crowdedServer(t)

  await t.test(
    'a crowd that does not take no for an answer leaves the server at work, and what matters is answered',
    () => facesCrowd(crowded)
  )
  await t.test('a database that does not answer builds up no queue, and is used again when it answers', () =>
    outlastsLock(crowded)
  )
})

async function facesCrowd({ server, load, aside, ask }: Crowded): Promise<void> {
  const rate = ({ served, seconds }: LoadReport) => served.count / seconds
  const usual = rate(await load(FEW, 0.7))
  const crowds: { crowded: LoadReport; seen: Record<string, AsideReport> }[] = []

  // The server needs a moment to find its concurrency limit, longer on a busy machine.
  await eventually(
    async () => {
      const watching = aside()
      const crowded = await load(CROWD, 1.5)
      crowds.push({ crowded, seen: await watching.stop() })
      // Other programs may have used the whole machine at that moment.
      const after = await eventually(
        async () => load(FEW, 0.5),
        ({ served, refused }) => served.count > 5 * refused.count
      )
      return { crowded: rate(crowded), without: Math.min(usual, rate(after)) }
    },
    ({ crowded, without }) => crowded >= without / 5
  )
  for (const { crowded, seen } of crowds) {
    assert.equal(crowded.malformed, 0, 'every refusal is an envelope and says when to come back')
    assert.equal(crowded.failed, 0)
    for (const path of ['/health', '/metrics'])
      assert.equal(seen[path]!.answered, seen[path]!.asked, `${path} is always answered`)
    const operators = seen['/admin/stats']!
    assert.ok(operators.answered >= operators.asked * 0.7, `operators: ${operators.answered} of ${operators.asked}`)
  }
  const metrics = await (await fetch(`${server.url}/metrics`)).text()
  assert.match(metrics, /^rhone_admission_queue_seconds_count\{priority="normal"\} [1-9]/m, 'not all of it at once')
  assert.equal(await ask(), 200)
}

async function outlastsLock({ databaseUrl, server, load, aside, ask }: Crowded): Promise<void> {
  await eventually(ask, status => status === 200)
  const sql = postgres(databaseUrl, { max: 1, onnotice() {} })
  try {
    await sql.begin(async locked => {
      await locked`lock table apps in access exclusive mode`
      const watching = aside()
      // The server needs a few seconds to find its queue length, depending on other load.
      const { stuck, metrics } = await eventually(
        async () => {
          const stuck = await load(300, 1.5)
          const metrics = await (await fetch(`${server.url}/metrics`)).text()
          const waiting = Number(/^rhone_db_pool_connections\{state="waiting"\} (.*)$/m.exec(metrics)?.[1])
          return { stuck, metrics, waiting }
        },
        ({ waiting }) => waiting < 96
      )
      const seen = await watching.stop()
      assert.ok(stuck.refused.count > 100, 'requests are refused instead of waiting forever')
      assert.equal(stuck.failed, 0)
      assert.equal(seen['/health']!.answered, seen['/health']!.asked)
      assert.match(metrics, /^rhone_shed_total\{reason="queue_\w+",priority="normal"\} [1-9]/m)
    })
  } finally {
    await sql.end()
  }
  await eventually(ask, status => status === 200)
}
