/**
 * `npm run bench -- [scenario ...] [--rounds=12] [--seconds=2] [--connections=32] [--warmup=20000] [--profile]`, and
 * `npm run bench -- peers [--go=<program>]`: a ping beside those of others ({@link peers}).
 *
 * Every scenario loads its baseline and Rhone in short alternating rounds, so that whatever else the machine does falls
 * on both. CPU time is the process's own, from the kernel's accounting; ratios are taken round by round.
 */
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { type LoadResult, load } from './load.ts'
import { peers } from './peers.ts'
import { type ServerProcess, startServer } from './process.ts'
import { keepResult } from './results.ts'
import { type Contestant, prepare, type Scenario, scenarios, type World } from './scenarios.ts'

interface Round extends LoadResult {
  /** Microseconds of CPU time per request. */
  readonly cpu: number
}

export interface Figures {
  readonly cpu: number
  readonly throughput: number
  readonly p50: number
  readonly p99: number
  /** CPU time per request against the baseline's, round by round; the median. */
  readonly ratio: number
  readonly refused: number
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '12' },
    seconds: { type: 'string', default: '2' },
    connections: { type: 'string', default: '32' },
    /** Requests before the first round: V8 compiles meanwhile, which would count as a cost of each request. */
    warmup: { type: 'string', default: '20000' },
    profile: { type: 'boolean', default: false },
    go: { type: 'string' }
  }
})
const rounds = Number(values.rounds)
const seconds = Number(values.seconds)
const connections = Number(values.connections)
const chosen = choose()
if (chosen.length === 0) throw new Error(`the scenarios are ${scenarios.map(({ name }) => name).join(', ')}`)

for (const scenario of chosen) {
  const figures = await measure(scenario)
  const { name, what, goal } = scenario
  const rows = Object.entries(figures).map(([server, each]) => ({ server, ...rowOf(each) }))
  await keepResult(name, name === 'peers' ? { what, rows } : { what, goal, rounds, seconds, connections, figures })
}

function choose(): readonly Scenario[] {
  if (positionals.includes('peers')) return [peers(values.go)]
  return positionals.length === 0 ? scenarios : scenarios.filter(({ name }) => positionals.includes(name))
}

async function measure(scenario: Scenario): Promise<Record<string, Figures>> {
  const world = await prepare(scenario)
  const servers = new Map<Contestant, ServerProcess>()
  const measured = new Map<string, Round[]>()
  try {
    for (const contestant of scenario.contestants)
      servers.set(contestant, await startServer({ ...contestant.server(world), ...profileOf(scenario, contestant) }))
    for (const [contestant, server] of servers) {
      await contestant.afterStart?.(server.url, world)
      await warmUp(contestant, server, world)
    }
    for (let round = 0; round < rounds; round++)
      for (const [contestant, server] of inTurn(servers, round)) {
        const known = measured.get(contestant.name) ?? []
        measured.set(contestant.name, [...known, await fire(contestant, server, world, seconds)])
      }
  } finally {
    await Promise.all([...servers.values()].map(server => server.stop()))
    await world.close()
  }
  const figures = summarize(scenario, measured)
  print(scenario, figures)
  return figures

  async function warmUp(contestant: Contestant, server: ServerProcess, world: World) {
    for (let sent = 0; sent < Number(values.warmup); ) {
      const { requests } = await fire(contestant, server, world, 2)
      if (requests === 0) throw new Error(`${contestant.name} answers nothing`)
      sent += requests
    }
  }

  async function fire(contestant: Contestant, server: ServerProcess, world: World, time: number) {
    const before = server.cpu()
    const result = await load(contestant.shot(server.url, world), connections, time)
    return { ...result, cpu: ((server.cpu() - before) * 1e6) / result.requests }
  }
}

/** Forwards and backwards, so that none is always the one after a pause. */
function inTurn<T>(entries: Iterable<T>, round: number): T[] {
  const order = [...entries]
  return round % 2 === 0 ? order : order.reverse()
}

function profileOf(scenario: Scenario, contestant: Contestant): { profile?: string } {
  return values.profile ? { profile: resolve('bench/results/profiles', `${scenario.name}-${contestant.name}`) } : {}
}

function summarize(scenario: Scenario, measured: ReadonlyMap<string, Round[]>): Record<string, Figures> {
  const base = measured.get(scenario.contestants[0]!.name)!
  return Object.fromEntries(
    [...measured].map(([name, rounds]) => [
      name,
      {
        cpu: median(rounds.map(({ cpu }) => cpu)),
        throughput: median(rounds.map(({ requests, seconds }) => requests / seconds)),
        p50: median(rounds.map(({ p50 }) => p50)),
        p99: median(rounds.map(({ p99 }) => p99)),
        ratio: median(rounds.map(({ cpu }, index) => cpu / base[index]!.cpu)),
        refused: rounds.reduce((sum, { refused }) => sum + refused, 0)
      }
    ])
  )
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

function print(scenario: Scenario, figures: Record<string, Figures>): void {
  console.log(
    `\n${scenario.name}: ${scenario.what} (goal: ${scenario.goal === null ? 'none' : `at most ${scenario.goal}`})`
  )
  console.table(Object.fromEntries(Object.entries(figures).map(([name, each]) => [name, rowOf(each)])))
}

function rowOf({ cpu, throughput, p50, p99, ratio }: Figures) {
  return {
    'cpu us/request': round(cpu, 1),
    ratio: round(ratio, 2),
    'requests/s': Math.round(throughput),
    'p50 ms': round(p50, 2),
    'p99 ms': round(p99, 2)
  }
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits))
}
