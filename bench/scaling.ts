/**
 * `npm run bench -- scaling [--rounds=8] [--seconds=3] [--connections=64 each]`
 * The capacity that a second worker, or a second instance behind haproxy with one Redis, adds to the first: the CPU time
 * of the busiest thread per request, whose inverse is the server's maximum throughput with one core per thread. It is
 * measured at the same moderate rate per worker or instance, which leaves most of both cores idle: on two saturated
 * cores, they would wait for each other, the client and the proxy, and evict each other's cache lines. Then both get all
 * that the client can send, for what that is worth.
 */
import { parseArgs } from 'node:util'
import { fire } from './fire.ts'
import { load } from './load.ts'
import { keepResult } from './results.ts'
import { type Contestant, openStage } from './scaling-stage.ts'

interface Round {
  /** Microseconds of CPU time per request: of all threads of the server, and of the busiest one. */
  readonly total: number
  readonly busiest: number
  /** Requests per second, of as many as possible on two cores that the client and the proxy share. */
  readonly saturated: number
  readonly refused: number
}

const { values } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '8' },
    seconds: { type: 'string', default: '3' },
    connections: { type: 'string', default: '64' }
  }
})
const [rounds, seconds, connections] = [values.rounds, values.seconds, values.connections].map(Number) as [
  number,
  number,
  number
]

const stage = await openStage()
const measured = new Map<Contestant, Round[]>(stage.contestants.map(contestant => [contestant, []]))
try {
  for (const contestant of stage.contestants) await measure(contestant)
  for (let round = 0; round < rounds; round++)
    for (const contestant of round % 2 === 0 ? stage.contestants : stage.contestants.toReversed())
      measured.get(contestant)!.push(await measure(contestant))
} finally {
  await stage.close()
}

const rows = [...measured].map(([contestant, own]) => ({ server: contestant.name, ...summarize(contestant, own) }))
const what =
  'GET /api/v1/ping, every concern on, at the same moderate rate per worker or instance. "Scaling" is the CPU time of ' +
  'the busiest thread per request, relative to the first row of the same kind.'
console.log(`\n${what}`)
console.table(rows)
await keepResult('scaling', { what, rows })

/** Each worker or instance has the same number of connections, and so the same load as a single one. */
async function measure({ url, units, rate, threads }: Contestant): Promise<Round> {
  const shot = { url: `${url}/api/v1/ping` }
  const before = threads()
  const paced = await fire({ ...shot, headers: {}, connections: connections * units, seconds, rate: rate * units })
  const used = [...threads()].map(([thread, cpu]) => cpu - (before.get(thread) ?? 0))
  const saturated = await load(shot, connections * units, 1)
  const perRequest = 1e6 / (rate * units * paced.elapsed)
  return {
    total: used.reduce((sum, cpu) => sum + cpu, 0) * perRequest,
    busiest: Math.max(...used) * perRequest,
    saturated: saturated.requests / saturated.seconds,
    refused: paced.refused.count + paced.unsent + paced.failed + saturated.refused
  }
}

function summarize({ comparedWith }: Contestant, own: readonly Round[]) {
  const base = measured.get(comparedWith ?? stage.contestants[0]!)!
  const of = (pick: (round: Round) => number) => median(own.map(pick))
  return {
    'cpu us/request': digits(
      of(({ total }) => total),
      1
    ),
    'busiest thread': digits(
      of(({ busiest }) => busiest),
      1
    ),
    scaling: comparedWith ? digits(median(own.map(({ busiest }, index) => base[index]!.busiest / busiest)), 2) : 1,
    'requests/s, saturated': Math.round(of(({ saturated }) => saturated)),
    refused: own.reduce((sum, { refused }) => sum + refused, 0)
  }
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b)
  return (sorted[Math.floor((sorted.length - 1) / 2)]! + sorted[Math.ceil((sorted.length - 1) / 2)]!) / 2
}

function digits(value: number, count: number): number {
  return Number(value.toFixed(count))
}
