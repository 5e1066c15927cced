/**
 * `npm run bench -- overload [--seconds=8]`: the goodput that remains under overload.
 * Closed loop: 1,000 connections that ask again at once, whatever the answer. Open loop: two, five and ten times the
 * server's peak, regardless of answers. Stuck database: the same load while a lock blocks every query. In parallel, the
 * health check, the metrics and an operator's route are requested ten times a second.
 * Each is compared with the peak measured right before and right after it, at the number of connections with the
 * highest goodput. This separates it from the machine's other load, and shows how the server recovers. Finally, the same
 * closed loop on bare Fastify shows what so many connections cost any server.
 */
import { parseArgs } from 'node:util'
import postgres from 'postgres'
import { fire, type LoadOrder, type LoadReport } from './fire.ts'
import { type ServerProcess, startServer } from './process.ts'
import { keepResult } from './results.ts'
import { type Contestant, prepare, scenarios, type World } from './scenarios.ts'
import { type AsideReport, watch } from './watch.ts'

const CROWD = 1_000
const PEAK_CONNECTIONS = [16, 32, 64]
const TIMES = [2, 5, 10]

export interface Figures extends LoadReport {
  /** Offered requests per second. */
  readonly offered: number
  readonly goodput: number
  /** From the kernel's CPU accounting of this process. */
  readonly goodputPerCpuSecond: number
  readonly aside: Readonly<Record<string, AsideReport>>
}

export interface OverloadFigures extends Figures {
  /** The peak's goodput before and after. */
  readonly before: number
  readonly after: number
  /** Relative to the mean of these two: goodput, and goodput per CPU second. */
  readonly share: number
  readonly shareOfCpu: number
}

export type Load = Pick<LoadOrder, 'connections' | 'rate'>

/** All loads applied to one server, by name, in order. */
export async function overload(seconds: number): Promise<Record<string, OverloadFigures>> {
  const ping = scenarios.find(({ name }) => name === 'ping')!
  const { contestants } = scenarios.find(({ name }) => name === 'detail')!
  const [bare, rhone] = [contestants[0]!, contestants.at(-1)!]
  const world = await prepare(ping)
  const figures: Record<string, OverloadFigures> = {}
  try {
    await ownUnderLoads()
    await using server = await start(bare, world)
    const underLoad = await comparing(server.subject, seconds)
    figures[`bare Fastify, closed loop, ${CROWD}`] = await underLoad({ connections: CROWD })
  } finally {
    await world.close()
  }
  return figures

  async function ownUnderLoads(): Promise<void> {
    await using server = await start(rhone, world)
    const underLoad = await comparing(server.subject, seconds)
    const capacity = Math.round(underLoad.peak.goodput)
    figures.unloaded = await underLoad({ connections: 1, rate: 100 })
    figures[`closed loop, ${CROWD} connections`] = await underLoad({ connections: CROWD })
    for (const times of TIMES)
      figures[`open loop, ${times} times the peak`] = await underLoad({ connections: CROWD, rate: times * capacity })
    const free = await lockApps(world.databaseUrl)
    figures['stuck database'] = await underLoad({ connections: CROWD }, free)
  }
}

interface Started extends AsyncDisposable {
  readonly subject: Subject
}

async function start(contestant: Contestant, world: World): Promise<Started> {
  const server = await startServer(contestant.server(world))
  await contestant.afterStart?.(server.url, world)
  const { url, headers = {} } = contestant.shot(server.url, world)
  return { subject: { server, order: { url, headers } }, [Symbol.asyncDispose]: () => server.stop() }
}

interface Comparing {
  (load: Load, end?: () => Promise<void>): Promise<OverloadFigures>
  readonly peak: Figures & Load
}

/** Warms a server up and finds its peak; then applies loads, each between two measurements of the peak. */
async function comparing(subject: Subject, seconds: number): Promise<Comparing> {
  await measure(subject, { connections: 32 }, 3)
  const peak = await highest(PEAK_CONNECTIONS.map(connections => () => measure(subject, { connections }, 2)))
  let before: Figures = peak
  const underLoad = async (load: Load, end?: () => Promise<void>) => {
    const found = await measure(subject, load, seconds)
    await end?.()
    const after = await measure(subject, { connections: peak.connections }, 2)
    const mean = (figure: 'goodput' | 'goodputPerCpuSecond') => (before[figure] + after[figure]) / 2
    const compared = {
      ...found,
      before: before.goodput,
      after: after.goodput,
      share: found.goodput / mean('goodput'),
      shareOfCpu: found.goodputPerCpuSecond / mean('goodputPerCpuSecond')
    }
    before = after
    return compared
  }
  return Object.assign(underLoad, { peak })
}

/** Blocks every query of the table `apps`, until the result is called. */
async function lockApps(databaseUrl: string): Promise<() => Promise<void>> {
  const sql = postgres(databaseUrl, { max: 1, onnotice() {} })
  const { promise: freed, resolve: free } = Promise.withResolvers<void>()
  const { promise: held, resolve: hold } = Promise.withResolvers<void>()
  const lock = sql.begin(async locked => {
    await locked`lock table apps in access exclusive mode`
    hold()
    await freed
  })
  await held
  return async () => {
    free()
    await lock
    await sql.end()
  }
}

export interface Subject {
  readonly server: ServerProcess
  readonly order: Pick<LoadOrder, 'url' | 'headers' | 'paths'>
}

export async function measure({ server, order }: Subject, load: Load, seconds: number): Promise<Figures & Load> {
  const aside = watch(server.url, order.headers)
  const before = server.cpu()
  const report = await fire({ ...order, ...load, seconds })
  const cpu = server.cpu() - before
  const goodput = report.served.count / report.seconds
  return {
    ...report,
    ...load,
    offered: load.rate ?? (report.served.count + report.refused.count) / report.seconds,
    goodput,
    goodputPerCpuSecond: (goodput * report.elapsed) / cpu,
    aside: await aside.stop()
  }
}

export async function highest<Found extends Figures>(attempts: readonly (() => Promise<Found>)[]): Promise<Found> {
  const found: Found[] = []
  for (const attempt of attempts) found.push(await attempt())
  return found.reduce((best, one) => (one.goodput > best.goodput ? one : best))
}

function rowOf([name, figures]: [string, OverloadFigures]): Readonly<Record<string, string | number>> {
  const { offered, goodput, before, after, share, shareOfCpu, served, refused, aside, seconds, failed, malformed } =
    figures
  const ms = (value: number) => Number(value.toFixed(1))
  const percent = (part: number) => `${Math.round(part * 100)} %`
  const answered = (path: string) => `${aside[path]!.answered}/${aside[path]!.asked}`
  return {
    load: name,
    'offered/s': Math.round(offered),
    'served/s': Math.round(goodput),
    'peak before': Math.round(before),
    'peak after': Math.round(after),
    'of peak': percent(share),
    'per CPU second': percent(shareOfCpu),
    'served p99 ms': ms(served.p99),
    'refused/s': Math.round(refused.count / seconds),
    'refused p50 ms': ms(refused.p50),
    'refused p99 ms': ms(refused.p99),
    '/health p95 ms': ms(aside['/health']!.p95),
    '/metrics': answered('/metrics'),
    operators: answered('/admin/stats'),
    failed: failed + malformed
  }
}

if (import.meta.main || process.argv[2] === 'overload') {
  const { values } = parseArgs({ allowPositionals: true, options: { seconds: { type: 'string', default: '8' } } })
  const rows = Object.entries(await overload(Number(values.seconds))).map(rowOf)
  const what =
    'GET /api/v1/apps/:app under more load than the server can handle. "Of peak" compares goodput with the peak right ' +
    'before and after; "per CPU second" does so per second of CPU time that the kernel gave this process, for machines ' +
    'with other load.'
  console.table(rows)
  await keepResult('overload', { what, rows })
}
