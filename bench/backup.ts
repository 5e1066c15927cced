/**
 * `npm run bench -- backup [--megabytes=240] [--rounds=3] [--rate=100]`
 * Measures the speed of a backup, beside that of a client that reads the same rows and drops them, and its effect on
 * requests: the detail class at a steady rate, alternately without and during a backup. The client has a core of its
 * own; the server and the process of the backup run where the system puts them.
 */
import { finished } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import postgres from 'postgres'
import { fire, type LoadReport } from './fire.ts'
import { startServer } from './process.ts'
import { keepResult } from './results.ts'
import { prepare, scenarios } from './scenarios.ts'

const CONNECTIONS = 16
/** Approximate bytes of a log row in COPY's text format. */
const ROW = 600

const { values } = parseArgs({
  allowPositionals: true,
  options: {
    megabytes: { type: 'string', default: '240' },
    rounds: { type: 'string', default: '3' },
    rate: { type: 'string', default: '100' }
  }
})
const [megabytes, rounds, rate] = [values.megabytes, values.rounds, values.rate].map(Number) as [number, number, number]

const scenario = scenarios.find(({ name }) => name === 'detail')!
const contestant = scenario.contestants.at(-1)!
const world = await prepare(scenario)
const server = await startServer({ ...contestant.server(world), isFree: true })
try {
  await contestant.afterStart?.(server.url, world)
  const bytes = await fill(world.databaseUrl, world.facts.appId!)
  const alone: LoadReport[] = []
  const during: LoadReport[] = []
  const speeds: number[] = []
  const bareSpeeds: number[] = []
  for (let round = 0; round < rounds; round++) {
    bareSpeeds.push(await speedOf(bytes, () => readAndDrop(world.databaseUrl)))
    alone.push(await ask(8))
    const load = ask(8)
    speeds.push(await speedOf(bytes, makeBackup))
    during.push(await load)
  }
  const p95 = (reports: readonly LoadReport[]) => median(reports.map(({ served }) => served.p95))
  const rows = [
    {
      'plain MB': Math.round(bytes / 1e6),
      'COPY alone MB/s': Number(median(bareSpeeds).toFixed(1)),
      'MB/s': Number(median(speeds).toFixed(1)),
      'p95 ms alone': Number(p95(alone).toFixed(2)),
      'p95 ms during': Number(p95(during).toFixed(2)),
      ratio: Number((p95(during) / p95(alone)).toFixed(2)),
      'not served': during.reduce((sum, { refused, failed, unsent }) => sum + refused.count + failed + unsent, 0)
    }
  ]
  console.table(rows)
  const what = `A backup of ${megabytes} MB, which is read back and decrypted, during ${rate} requests per second for GET /api/v1/apps/:app.`
  await keepResult('backup', { what, rows })
} finally {
  await server.stop()
  await world.close()
}

/** Adds log lines that compress like real logs. @returns the bytes that COPY writes for all of them */
async function fill(url: string, appId: string): Promise<number> {
  const sql = postgres(url, { max: 1, onnotice() {} })
  await sql`insert into app_logs (app_id, at, level, source, message)
    select ${appId}, now() - n * interval '1 millisecond', 'info', 'app',
      'GET /items/' || n || ' 200 ' || (random() * 1000)::integer || ' ms ' || md5(n::text) || repeat(' agent=Mozilla/5.0', 22)
    from generate_series(1, ${Math.round((megabytes * 1e6) / ROW)}) n`
  await sql`analyze app_logs`
  const [row] = await sql`select sum(length(l::text))::float8 as bytes from app_logs l`
  await sql.end()
  return row!.bytes
}

/** Megabytes per second. */
async function speedOf(bytes: number, work: () => Promise<void>): Promise<number> {
  const begun = performance.now()
  await work()
  return bytes / 1e6 / ((performance.now() - begun) / 1_000)
}

/** What PostgreSQL and the driver need for the rows alone. */
async function readAndDrop(url: string): Promise<void> {
  const sql = postgres(url, { max: 1, onnotice() {} })
  const rows = await sql`copy app_logs to stdout`.readable()
  await finished(rows.resume())
  // The driver pauses a connection whose rows are read slowly, and closing waits for its answer.
  await sql.end({ timeout: 0 })
}

async function makeBackup(): Promise<void> {
  const count = async () =>
    (await call('GET')).items.filter(({ state }: { state: string }) => state === 'verified').length
  const before = await count()
  await call('POST')
  while ((await count()) === before) await delay(100)
}

async function call(method: 'GET' | 'POST') {
  const response = await fetch(`${server.url}/admin/backups`, {
    method,
    headers: { authorization: `Bearer ${world.facts.token}` }
  })
  if (!response.ok) throw new Error(`${method} /admin/backups: ${response.status} ${await response.text()}`)
  return response.json() as Promise<{ items: { state: string }[] }>
}

function ask(seconds: number): Promise<LoadReport> {
  const headers = { authorization: `Bearer ${world.facts.token}` }
  const url = `${server.url}/api/v1/apps/${world.facts.appId}`
  return fire({ url, headers, connections: CONNECTIONS, rate, seconds })
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!
}
