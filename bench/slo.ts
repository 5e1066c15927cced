/**
 * `npm run bench -- slo [--seconds=8]`: how far each service level class stays below its objective at 200 requests per
 * second on one core: one class after another, then all five at once with 40 requests per second each.
 */
import { parseArgs } from 'node:util'
import postgres from 'postgres'
import { fire, type LoadOrder, type LoadReport } from './fire.ts'
import { startServer } from './process.ts'
import { keepResult } from './results.ts'
import { prepare, scenarios } from './scenarios.ts'

const RATE = 200
const CONNECTIONS = 32

interface Class {
  readonly name: string
  /** Milliseconds within which 95 of 100 requests must finish. */
  readonly p95: number
  readonly request: string
  readonly order: Pick<LoadOrder, 'url' | 'headers' | 'method' | 'body'>
}

const { values } = parseArgs({ allowPositionals: true, options: { seconds: { type: 'string', default: '8' } } })
const seconds = Number(values.seconds)
const list = scenarios.find(({ name }) => name === 'list')!
const contestant = list.contestants.at(-1)!
const world = await prepare(list)
const server = await startServer(contestant.server(world))
try {
  await contestant.afterStart?.(server.url, world)
  const classes = classesOf(server.url, world.facts.token!, world.facts.appId!)
  const rows: Readonly<Record<string, string | number>>[] = []
  for (const one of classes) {
    rows.push(rowOf(one, RATE, await ask(one, RATE)))
    await analyze(world.databaseUrl)
  }
  const together = await Promise.all(classes.map(one => ask(one, RATE / classes.length)))
  rows.push(...classes.map((one, index) => rowOf(one, RATE / classes.length, together[index]!)))
  console.table(rows)
  const what =
    `Latency of each service level class, from when a request was due, at ${RATE} requests per second on one core: first ` +
    'one class after the other, then all at once. "Room" is how many times as long the 95th percentile could be.'
  await keepResult('slo', { what, rows })
} finally {
  await server.stop()
  await world.close()
}

/**
 * Does what autovacuum does a minute after so many writes: without it, the planner does not know which index is worth
 * using.
 */
async function analyze(url: string): Promise<void> {
  const sql = postgres(url, { max: 1, onnotice() {} })
  await sql`analyze`
  await sql.end()
}

function classesOf(url: string, token: string, appId: string): readonly Class[] {
  const headers = { authorization: `Bearer ${token}` }
  const get = (name: string, p95: number, path: string): Class => ({
    name,
    p95,
    request: `GET ${path.replace(appId, ':app')}`,
    order: { url: url + path, headers }
  })
  return [
    get('health', 50, '/ready'),
    get('list', 100, '/api/v1/apps'),
    get('detail', 50, `/api/v1/apps/${appId}`),
    {
      name: 'write',
      p95: 200,
      request: 'PATCH /api/v1/apps/:app',
      order: {
        url: `${url}/api/v1/apps/${appId}`,
        method: 'PATCH',
        headers: { ...headers, 'content-type': 'application/json' },
        body: '{"name":"renamed"}'
      }
    },
    get('search', 200, '/admin/audit?text=app%207')
  ]
}

function ask({ order }: Class, rate: number): Promise<LoadReport> {
  return fire({ ...order, connections: CONNECTIONS, rate, seconds })
}

function rowOf({ name, p95, request }: Class, rate: number, { served, refused, failed, unsent }: LoadReport) {
  const ms = (value: number) => Number(value.toFixed(1))
  return {
    class: name,
    request,
    'per second': rate,
    'promised p95 ms': p95,
    'p50 ms': ms(served.p50),
    'p95 ms': ms(served.p95),
    'p99 ms': ms(served.p99),
    room: `${Math.floor(p95 / served.p95)} times`,
    'not served': refused.count + failed + unsent
  }
}
