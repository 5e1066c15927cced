/**
 * The measurement `npm run bench -- memory`: resident memory around the 100,000th and the 1,000,000th request, with as
 * many addresses, and the time from process start until ready.
 */
import { connect, type Socket } from 'node:net'
import { type ServerCommand, type ServerProcess, startServer } from './process.ts'
import { keepResult } from './results.ts'
import { prepare, scenarios, type World } from './scenarios.ts'

const MANY = 1_000_000
/** Requests between two memory samples, since memory rises and falls with every garbage collection. */
const STEP = 10_000
const CONNECTIONS = 8
/** Concurrent requests per connection. */
const AHEAD = 4
const BOOTS = 7
const MEGABYTE = 1024 * 1024
const STATUS_LINE = 'HTTP/1.1 '

const detail = scenarios.find(({ name }) => name === 'detail')!
const rhone = detail.contestants.find(({ name }) => name === 'rhone')!

const WHAT =
  'Resident memory in megabytes around the 100,000th and the 1,000,000th request: ping and detail in turn, and one request ' +
  'per address; and milliseconds from the start of the process until it is ready, on a migrated database.'

const world = await prepare(detail)
try {
  const measured = { boot: await boots(world), requests: await requests(world), addresses: await addresses(world) }
  const rows = Object.entries(measured).map(([measurement, figures]) => ({ measurement, ...figures }))
  await keepResult('memory', { what: WHAT, rows })
} finally {
  await world.close()
}

async function boots(world: World) {
  await withServer(rhone.server(world), async () => {}) // migrates
  const times: number[] = []
  const cpu: number[] = []
  for (let boot = 0; boot < BOOTS; boot++) {
    const startedAt = performance.now()
    await withServer(rhone.server(world), async server => {
      times.push(Math.round(performance.now() - startedAt))
      cpu.push(Math.round(server.cpu() * 1000))
    })
  }
  return show('boot', { fastest: Math.min(...times), median: median(times), medianCpu: median(cpu) })
}

/** Alternates between ping and detail. */
async function requests(world: World) {
  return withServer(rhone.server(world), async server => {
    await rhone.afterStart?.(server.url, world)
    const { url, headers = {} } = rhone.shot(server.url, world)
    const shots = [head('/api/v1/ping'), head(new URL(url).pathname, headers)]
    return show('requests', await grow(server, index => shots[index % 2]!))
  })
}

/** Each request from another address, under a limit so slow that no bucket refills meanwhile. */
async function addresses(world: World) {
  const command = rhone.server(world)
  const env = { ...command.env, TRUST_PROXY: '127.0.0.1/32', RATE_LIMIT_GENERAL: '1/h:200' }
  return withServer({ ...command, env }, async server => {
    const address = (index: number) => `11.${index >> 16}.${(index >> 8) & 255}.${index & 255}`
    const figures = await grow(server, index => head('/api/v1/ping', { 'X-Forwarded-For': address(index) }))
    return show('addresses', figures)
  })
}

async function grow(server: ServerProcess, make: (index: number) => string) {
  const atStart = megabytes(server)
  const samples: number[] = []
  for (let sent = 0; sent < MANY; sent += STEP) {
    await send(server, sent, sent + STEP, make)
    samples.push(megabytes(server))
  }
  const [few, many] = [median(samples.slice(5, 15)), median(samples.slice(-10))]
  return { atStart, few, many, highest: Math.max(...samples), ratio: Number((many / few).toFixed(3)) }
}

function show<T extends object>(what: string, figures: T): T {
  console.log(what)
  console.table(figures)
  return figures
}

async function withServer<T>(command: ServerCommand, work: (server: ServerProcess) => Promise<T>): Promise<T> {
  const server = await startServer(command)
  try {
    return await work(server)
  } finally {
    await server.stop()
  }
}

function megabytes(server: ServerProcess): number {
  return Math.round(server.rss() / MEGABYTE)
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)]!
}

function head(path: string, headers: Readonly<Record<string, string>> = {}): string {
  const lines = Object.entries({ Host: 'rhone', ...headers }).map(([name, value]) => `${name}: ${value}\r\n`)
  return `GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`
}

/** Sends the requests of a range of indexes, and waits for their replies. */
async function send({ url }: ServerProcess, from: number, to: number, make: (index: number) => string): Promise<void> {
  let next = from
  const batch = () => Array.from({ length: Math.min(AHEAD, to - next) }, () => make(next++))
  const client = async () => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    for (let shots = batch(); shots.length > 0; shots = batch()) {
      socket.write(shots.join(''))
      await replies(socket, shots.length)
    }
    socket.destroy()
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, client))
}

function replies(socket: Socket, count: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let tail = ''
    const onData = (chunk: Buffer) => {
      const text = tail + chunk.toString('latin1')
      count -= text.split(STATUS_LINE).length - 1
      tail = text.slice(1 - STATUS_LINE.length)
      if (count > 0) return
      socket.off('data', onData).off('error', reject)
      resolve()
    }
    socket.on('data', onData).on('error', reject)
  })
}
