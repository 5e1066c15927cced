/**
 * `npm run bench -- computing [handler ...] [--seconds=3] [--workers=1]`: the goodput that remains when CPU-bound
 * handlers are overloaded on one core.
 * A handler is a path below `/compute` ({@link addComputing}), such as `first/2`: computes 2 ms, then waits 2 ms; with
 * `mixed/` before it, every eleventh request calls it, and the others compute for 0.2 ms. The peak is measured first,
 * at the number of connections with the highest goodput. Then 500 connections ask for more (open loop), 1,000 ask as
 * often as they can (closed loop), and finally the peak is measured again, a second after the load has ended.
 */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { type Figures, highest, type Load, measure, type Subject } from './overload.ts'
import { startServer } from './process.ts'
import { keepResult } from './results.ts'
import { prepare, scenarios } from './scenarios.ts'

const HANDLERS = ['first/2', 'last/2', 'only/2', 'first/0.5', 'first/10', 'mixed/first/10']
const UNLIMITED = '1000000/s:1000000'
const TIMES = [1.25, 2, 5, 10]
const CONNECTIONS = 500
const CROWD = 1_000
const RECOVERY = 1_000

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '3' }, workers: { type: 'string', default: '1' } }
})
const seconds = Number(values.seconds)
const chosen = positionals.filter(name => name !== 'computing')

const world = await prepare(scenarios[0]!)
const server = await startServer({
  script: join(import.meta.dirname, '../src/server.ts'),
  env: {
    PORT: '0',
    DATABASE_URL: world.databaseUrl,
    DATA_DIR: world.dataDir,
    RHONE_WORKERS: values.workers,
    RATE_LIMIT_GENERAL: UNLIMITED,
    RATE_LIMIT_USER: UNLIMITED,
    RHONE_SWAP: `routes=${join(import.meta.dirname, 'servers/computing.ts')}`
  }
})
const rows: Readonly<Record<string, string | number>>[] = []
try {
  const token = (await readFile(join(world.dataDir, 'operator-token'), 'utf8')).trim()
  const order = { url: server.url, headers: { authorization: `Bearer ${token}` } }
  for (const handler of chosen.length > 0 ? chosen : HANDLERS)
    await underLoads(handler, { server, order: { ...order, paths: pathsOf(handler) } })
} finally {
  await server.stop()
  await world.close()
}
const what =
  'Handlers that use CPU, named by when they compute and for how many milliseconds; all but "only" also wait for 2 ms. ' +
  '"Of peak" compares requests served per second, "per CPU second" those per second of CPU time that the kernel gave ' +
  'this process. Latencies of served requests count from sending the request.'
console.log(`\n${what}`)
console.table(rows)
await keepResult('computing', { what, rows })

async function underLoads(handler: string, subject: Subject): Promise<void> {
  await measure(subject, { connections: 16 }, 1)
  const peak = await highest([4, 16, 64].map(connections => () => measure(subject, { connections }, 2)))
  report(handler, 'peak', peak, peak)
  const loads: readonly (readonly [string, Load])[] = [
    ...TIMES.map(times => [`${times} times`, { connections: CONNECTIONS, rate: times * peak.goodput }] as const),
    [`closed loop, ${CROWD}`, { connections: CROWD }]
  ]
  for (const [name, load] of loads) report(handler, name, await measure(subject, load, seconds), peak)
  await delay(RECOVERY)
  report(handler, 'peak after', await measure(subject, { connections: peak.connections }, 2), peak)
}

function report(handler: string, load: string, found: Figures, peak: Figures): void {
  const { offered, goodput, goodputPerCpuSecond, servedFromSent, refused, aside, failed, malformed } = found
  const percent = (part: number) => `${Math.round(part * 100)} %`
  const answered = (path: string) => `${aside[path]!.answered}/${aside[path]!.asked}`
  rows.push({
    handler,
    load,
    'offered/s': Math.round(offered),
    'served/s': Math.round(goodput),
    'of peak': percent(goodput / peak.goodput),
    'per CPU second': percent(goodputPerCpuSecond / peak.goodputPerCpuSecond),
    'served p50 ms': Math.round(servedFromSent.p50),
    'served p99 ms': Math.round(servedFromSent.p99),
    'refused/s': Math.round(refused.count / found.seconds),
    'refused p50 ms': Math.round(refused.p50),
    '/health p95 ms': Math.round(aside['/health']!.p95),
    operators: answered('/admin/stats'),
    failed: failed + malformed
  })
}

function pathsOf(handler: string): string[] {
  const mixed = /^mixed\/(.*)/.exec(handler)?.[1]
  if (mixed === undefined) return [`/compute/${handler}`]
  return [`/compute/${mixed}`, ...Array.from({ length: 10 }, () => '/compute/first/0.2')]
}
