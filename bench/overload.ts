/**
 * `npm run bench -- overload [--seconds=8]`: what is left of the server when it is asked for more than it can do.
 *
 * Closed loop: 1,000 connections that ask again at once, whatever they are told. Open loop: twice, five and ten times of
 * what the server can do, whether it answers or not. Stuck database: the same crowd while a lock holds every query. Beside
 * each the health check, the metrics and an operator's route are asked for ten times a second.
 *
 * Where others use the machine, compare goodput per CPU second: the kernel's account of this one process.
 */
import { parseArgs } from 'node:util'
import postgres from 'postgres'
import { type FireOrder, type FireReport, fire } from './fire.ts'
import { type ServerProcess, startServer } from './process.ts'
import { keepResult } from './results.ts'
import { prepare, scenarios } from './scenarios.ts'
import { type AsideReport, watch } from './watch.ts'

const CROWD = 1_000
const PEAK_CONNECTIONS = [16, 32, 64]
const TIMES = [2, 5, 10]

export interface OverloadFigures extends FireReport {
  /** Requests per second. */
  readonly offered: number
  readonly goodput: number
  readonly goodputPerCpuSecond: number
  /** Of the peak: of goodput, and of goodput per CPU second. */
  readonly share: number
  readonly shareOfCpu: number
  readonly aside: Readonly<Record<string, AsideReport>>
}

type Load = Pick<FireOrder, 'connections' | 'rate'>

/** Every ordeal of a server of its own, by name, in the order in which it went through them. */
export async function overload(seconds: number): Promise<Record<string, OverloadFigures>> {
  const ping = scenarios.find(({ name }) => name === 'ping')!
  const detail = scenarios.find(({ name }) => name === 'detail')!.contestants.at(-1)!
  const world = await prepare(ping)
  const figures: Record<string, OverloadFigures> = {}
  let server: ServerProcess | undefined
  let peak: OverloadFigures | undefined
  try {
    server = await startServer(detail.server(world))
    await detail.afterStart?.(server.url, world)
    const { url, headers = {} } = detail.shot(server.url, world)
    await fire({ url, headers, connections: 32, seconds: 2 })

    await endure('unloaded', { connections: 1, rate: 100 })
    for (const connections of PEAK_CONNECTIONS) {
      const found = await endure(`${connections} connections`, { connections })
      if (peak === undefined || found.goodput > peak.goodput) peak = found
    }
    const capacity = Math.round(peak!.goodput)
    await endure(`closed loop, ${CROWD} connections`, { connections: CROWD })
    await endure('right after it', { connections: 32 }, 2)
    for (const times of TIMES)
      await endure(`open loop, ${times} times the peak`, { connections: CROWD, rate: times * capacity })

    const sql = postgres(world.databaseUrl, { max: 1, onnotice() {} })
    await sql.begin(async locked => {
      await locked`lock table apps in access exclusive mode`
      await endure('stuck database', { connections: CROWD })
    })
    await sql.end()
    await endure('once it is free', { connections: 32 }, 2)

    async function endure(name: string, load: Load, time = seconds): Promise<OverloadFigures> {
      const aside = watch(server!.url, headers)
      const before = server!.cpu()
      const report = await fire({ url, headers, ...load, seconds: time })
      const cpu = server!.cpu() - before
      const goodput = report.served.count / report.seconds
      const goodputPerCpuSecond = (goodput * report.elapsed) / cpu
      const answered = (report.served.count + report.refused.count) / report.seconds
      figures[name] = {
        ...report,
        offered: load.rate ?? answered,
        goodput,
        goodputPerCpuSecond,
        share: goodput / (peak?.goodput ?? goodput),
        shareOfCpu: goodputPerCpuSecond / (peak?.goodputPerCpuSecond ?? goodputPerCpuSecond),
        aside: await aside.stop()
      }
      return figures[name]
    }
  } finally {
    await server?.stop()
    await world.close()
  }
  return figures
}

function rowOf([name, figures]: [string, OverloadFigures]): Readonly<Record<string, string | number>> {
  const { offered, goodput, share, shareOfCpu, served, refused, aside, seconds, failed, malformed } = figures
  const ms = (value: number) => Number(value.toFixed(1))
  const percent = (part: number) => `${Math.round(part * 100)} %`
  const answered = (path: string) => `${aside[path]!.answered}/${aside[path]!.asked}`
  return {
    load: name,
    'offered/s': Math.round(offered),
    'served/s': Math.round(goodput),
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
    'GET /api/v1/apps/:app under more than the server can do. "of peak" is goodput against the best of the moderate loads;' +
    ' "per CPU second" is the same by the time that the kernel gave this process, for machines that others use as well.'
  console.table(rows)
  await keepResult('overload', { what, rows })
}
