/**
 * `npm run bench -- parts [--rounds=60]`: the cost of each concern for a ping, found by leaving out one at a time.
 * All servers run in one process, complete except for the database, and get requests over in-memory connections: HTTP
 * is parsed and written as usual, but no system call is measured. They take turns of a few hundred requests, with one
 * request in flight per connection. Figures are medians of the differences within a round.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex, Writable } from 'node:stream'
import { parseArgs } from 'node:util'
import Fastify, { type FastifyInstance } from 'fastify'
import { createLogger } from '../plugins/logging/logger.ts'
import { buildApp } from '../src/app.ts'
import { type Config, loadConfig, type Variables } from '../src/config/index.ts'
import { generateKey, parseKeyring } from '../src/config/keyring.ts'
import { keepResult } from './results.ts'

/** The measured slots of the server; slots that others depend on stay in. */
const PARTS = [
  'logging',
  'metrics',
  'objectives',
  'security-headers',
  'cors',
  'drain',
  'startup',
  'maintenance',
  'rate-limit',
  'pressure',
  'client-ip',
  'write-batching',
  'request-id'
] as const
const CONNECTIONS = 32
const BATCHES = 10
const REQUEST = 'GET /api/v1/ping HTTP/1.1\r\nHost: localhost\r\n\r\n'
const ANSWER = '{"pong":true}'
const UNLIMITED = '1000000/s:1000000'
const UNRECORDED = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9', OTEL_TRACES_SAMPLER_ARG: '0' }

interface Contestant {
  readonly name: string
  readonly app: FastifyInstance
  readonly connections: readonly Connection[]
  /** Microseconds of CPU per request, by round. */
  readonly rounds: number[]
}

/** False for any reply other than the expected one. */
function isWhole(answer: string): boolean {
  const [head = '', body] = answer.split('\r\n\r\n')
  return body !== undefined && body.length === Number(/^content-length: (\d+)/im.exec(head)?.[1])
}

/** A client's connection without a network. */
class Connection extends Duplex {
  readonly remoteAddress = '127.0.0.1'
  refused = 0
  #answer = ''
  #answered = () => {}

  ask(): Promise<void> {
    return new Promise(resolve => {
      this.#answered = resolve
      this.push(REQUEST)
    })
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#answer += chunk.toString('latin1')
    const isServed = this.#answer.startsWith('HTTP/1.1 200') && this.#answer.endsWith(ANSWER)
    if (isServed || isWhole(this.#answer)) {
      if (!isServed) this.refused++
      this.#answer = ''
      this.#answered()
    }
    done()
  }

  /** The rest of a real socket's interface that is needed. */
  setTimeout(): this {
    return this
  }
  setNoDelay(): this {
    return this
  }
  setKeepAlive(): this {
    return this
  }
}

const { values } = parseArgs({ allowPositionals: true, options: { rounds: { type: 'string', default: '60' } } })
const dataDir = await mkdtemp(join(tmpdir(), 'rhone-parts-'))
const contestants: Contestant[] = []
try {
  contestants.push(
    await contestant('bare Fastify', bare()),
    await contestant('every concern', await whole()),
    await contestant('and traces that are not recorded', await whole({ variables: UNRECORDED }))
  )
  for (const part of PARTS) contestants.push(await contestant(`without ${part}`, await whole({ without: part })))
  for (let warmUp = 0; warmUp < 10; warmUp++) for (const each of contestants) await batch(each)
  for (let round = 0; round < Number(values.rounds); round++)
    for (const each of round % 2 === 0 ? contestants : contestants.toReversed()) each.rounds.push(await batch(each))
} finally {
  for (const { app, connections } of contestants) {
    for (const connection of connections) connection.destroy()
    await app.close()
  }
  await rm(dataDir, { recursive: true, force: true })
}

const [floor, all, traced, ...parts] = contestants as [Contestant, Contestant, Contestant, ...Contestant[]]
const added = all.rounds.map((whole, round) => whole - floor.rounds[round]!)
const rows = [
  { part: floor.name, µs: round(median(floor.rounds)), ratio: 1 },
  { part: all.name, µs: round(median(all.rounds)), ratio: round(ratioTo(floor, all)) },
  {
    part: traced.name,
    µs: round(median(traced.rounds.map((each, at) => each - all.rounds[at]!))),
    ratio: round(ratioTo(floor, traced))
  },
  ...parts
    .map(({ name, rounds }, index) => {
      const cost = median(rounds.map((without, at) => all.rounds[at]! - without))
      return {
        part: PARTS[index]!,
        µs: round(cost),
        'of what is added': `${Math.round((100 * cost) / median(added))} %`,
        name
      }
    })
    .sort((one, other) => other.µs - one.µs)
    .map(({ name: _, ...row }) => row)
]
const what =
  'CPU time of a ping over connections in memory: bare Fastify, the whole server, and the share of each part, as the ' +
  'difference that leaving it out makes. Parts share work, so their sum is less than the whole.'
console.log(`\n${what}`)
console.table(rows)
await keepResult('parts', { what, rows })

function bare(): FastifyInstance {
  const app = Fastify()
  const pong = { type: 'object', properties: { pong: { type: 'boolean' } }, required: ['pong'] }
  app.get('/api/v1/ping', { schema: { response: { 200: pong } } }, () => ({ pong: true }))
  return app as unknown as FastifyInstance
}

function whole({ without, variables }: { without?: string; variables?: Variables } = {}): Promise<FastifyInstance> {
  const key = () => parseKeyring(generateKey())
  const config: Config = loadConfig({
    DATA_DIR: dataDir,
    RATE_LIMIT_GENERAL: UNLIMITED,
    RHONE_SWAP: 'database=off',
    ...variables
  })
  const destination = new Writable({ write: (_lines, _encoding, done) => done() })
  return buildApp(
    { ...config, keys: { session: key(), encryption: key(), signing: key() } },
    without === undefined ? {} : { [without]: false },
    createLogger({ level: 'info', destination })
  )
}

async function contestant(name: string, app: FastifyInstance): Promise<Contestant> {
  await app.ready()
  await app.startup?.completed
  const connections = Array.from({ length: CONNECTIONS }, () => new Connection())
  for (const connection of connections) app.server.emit('connection', connection)
  return { name, app, connections, rounds: [] }
}

async function batch({ connections }: Contestant): Promise<number> {
  const began = process.cpuUsage()
  for (let count = 0; count < BATCHES; count++) await Promise.all(connections.map(connection => connection.ask()))
  const { user, system } = process.cpuUsage(began)
  const refused = connections.reduce((sum, connection) => sum + connection.refused, 0)
  for (const connection of connections) connection.refused = 0
  // A process that got too little CPU time refuses some requests, which invalidates the round.
  if (refused > 0) return Number.NaN
  return (user + system) / (BATCHES * CONNECTIONS)
}

function ratioTo(base: Contestant, { rounds }: Contestant): number {
  return median(rounds.map((each, round) => each / base.rounds[round]!))
}

function median(numbers: readonly number[]): number {
  const measured = numbers.filter(Number.isFinite).sort((a, b) => a - b)
  return measured[Math.floor(measured.length / 2)] ?? Number.NaN
}

function round(value: number): number {
  return Number(value.toFixed(2))
}
