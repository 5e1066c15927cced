/**
 * `npm run bench -- scaling [--rounds=8] [--seconds=2] [--connections=64 each]`
 * The capacity that a second worker, or a second instance behind haproxy with one Redis, adds to the first. A machine
 * with two cores cannot show that as throughput, since the client and the proxy need cores as well. So the servers
 * first share one core, with the client on the other, and the CPU time of the busiest thread per request is measured:
 * its inverse is the server's maximum throughput with one core per thread. Then they may use both cores, for what that
 * is worth.
 */
import { parseArgs } from 'node:util'
import { load } from './load.ts'
import { keepResult } from './results.ts'
import { type Contestant, openStage } from './scaling-stage.ts'

interface Round {
  /** Microseconds of CPU time per request: of all threads of the server, and of the busiest one. */
  readonly total: number
  readonly busiest: number
  /** Requests per second on one core, and on both, where the client needs one of them. */
  readonly confined: number
  readonly free: number
  readonly refused: number
}

const { values } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '8' },
    seconds: { type: 'string', default: '2' },
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
  for (const contestant of stage.contestants) await fire(contestant)
  for (let round = 0; round < rounds; round++)
    for (const contestant of round % 2 === 0 ? stage.contestants : stage.contestants.toReversed())
      measured.get(contestant)!.push(await fire(contestant))
} finally {
  await stage.close()
}

const rows = [...measured].map(([contestant, own]) => ({ server: contestant.name, ...summarize(contestant, own) }))
const what = 'GET /api/v1/ping, every concern on; "scaling" is relative to the first row of the same kind.'
console.log(`\n${what}`)
console.table(rows)
await keepResult('scaling', { what, rows })

/** Each worker or instance has the same number of connections, and so the same load as a single one. */
async function fire(contestant: Contestant): Promise<Round> {
  const clients = connections * contestant.units
  const shot = { url: `${contestant.url}/api/v1/ping` }
  contestant.moveTo('0')
  const before = contestant.threads()
  const confined = await load(shot, clients, seconds)
  const used = [...contestant.threads()].map(([thread, cpu]) => cpu - (before.get(thread) ?? 0))
  contestant.moveTo('0,1')
  const free = await load(shot, clients, seconds)
  const perRequest = 1e6 / confined.requests
  return {
    total: used.reduce((sum, cpu) => sum + cpu, 0) * perRequest,
    busiest: Math.max(...used) * perRequest,
    confined: confined.requests / confined.seconds,
    free: free.requests / free.seconds,
    refused: confined.refused + free.refused
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
    'requests/s, one core': Math.round(of(({ confined }) => confined)),
    'both cores': Math.round(of(({ free }) => free)),
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
