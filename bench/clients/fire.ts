/**
 * Sends one request over many connections and prints the outcome by status, as JSON. A separate process, so that it can
 * have its own core; raw sockets, because a client that costs more than the server would measure itself.
 * Without a rate, each connection sends again as soon as it has its answer (closed loop, ignoring `Retry-After`). With
 * a rate, requests are due at fixed times regardless of answers (open loop); latency counts from the due time, and
 * requests that find no free connection within a second are not sent.
 */
import { connect, type Socket } from 'node:net'
import type { LoadOrder, LoadReport, StatusReport } from '../fire.ts'

const PATIENCE = 1_000
const TICK = 2
/** The first part of a run fills the queues and does not count. */
const WARM_UP = 0.2

const order = JSON.parse(process.argv[2]!) as LoadOrder
const { hostname, port, pathname, search } = new URL(order.url)
const { method = 'GET', body = '' } = order
const headers = { host: 'localhost', ...order.headers, ...(body && { 'content-length': Buffer.byteLength(body) }) }
const paths = order.paths ?? [`${pathname}${search}`]
const requests = paths.map(path => {
  const head = [`${method} ${path} HTTP/1.1`, ...Object.entries(headers).map(pair => pair.join(': '))]
  return Buffer.from(`${head.join('\r\n')}\r\n\r\n${body}`)
})
/** One entry per path, by the index of its first occurrence. */
const latencies = paths.map(() => ({ served: [] as number[], sent: [] as number[], refused: [] as number[] }))
const firstOf = paths.map(path => paths.indexOf(path))
let turn = 0
let failed = 0
let unsent = 0
let malformed = 0
let from = Number.POSITIVE_INFINITY
let until = Number.POSITIVE_INFINITY
const idle: Lane[] = []
const due: number[] = []
let oldest = 0

class Lane {
  readonly #socket: Socket
  #since = 0
  #sentAt = 0
  #path = 0
  #received = ''

  constructor(onOpen: () => void) {
    this.#socket = connect({ port: Number(port), host: hostname, noDelay: true }, onOpen)
    this.#socket.setEncoding('latin1')
    this.#socket.on('data', (chunk: string) => this.#onData(chunk))
    this.#socket.on('error', () => {})
    this.#socket.on('close', () => {
      if (performance.now() < until) failed++
    })
  }

  send(since: number): void {
    this.#since = since
    this.#sentAt = performance.now()
    this.#path = turn
    turn = (turn + 1) % requests.length
    this.#socket.write(requests[this.#path]!)
  }

  end(): void {
    this.#socket.destroy()
  }

  #onData(chunk: string): void {
    this.#received = this.#received === '' ? chunk : this.#received + chunk
    const head = this.#received.indexOf('\r\n\r\n')
    if (head < 0) return
    const length = lengthOf(this.#received, head)
    if (this.#received.length < head + 4 + length) return
    const reply = this.#received
    this.#received = ''
    note(reply, firstOf[this.#path]!, this.#since, this.#sentAt)
    next(this)
  }
}

const LENGTH = /^content-length: (\d+)/im

function lengthOf(reply: string, head: number): number {
  return Number(LENGTH.exec(reply.slice(0, head))?.[1] ?? 0)
}

/** Counts replies by when they arrive: under overload, those of a second's due requests arrive in the next one. */
function note(reply: string, path: number, since: number, sentAt: number): void {
  const now = performance.now()
  if (now < from || now > until) return
  const status = reply.slice(9, 12)
  const { served, sent, refused } = latencies[path]!
  if (status[0] === '2') {
    served.push(now - since)
    sent.push(now - sentAt)
  } else if (status === '503') {
    refused.push(now - since)
    if (!reply.includes('"SERVICE_UNAVAILABLE"') || !/retry-after: \d/i.test(reply)) malformed++
  } else failed++
}

function next(lane: Lane): void {
  const now = performance.now()
  if (now >= until) return
  const since = order.rate === undefined ? now : longestDue(now)
  if (since === undefined) idle.push(lane)
  else lane.send(since)
}

function longestDue(now: number): number | undefined {
  while (oldest < due.length) {
    const since = due[oldest++]!
    if (now - since <= PATIENCE) return since
    if (since >= from) unsent++
  }
  return undefined
}

const lanes: Lane[] = []
await Promise.all(
  Array.from({ length: order.connections }, () => new Promise<void>(open => lanes.push(new Lane(open))))
)
const start = performance.now()
from = start + order.seconds * 1_000 * WARM_UP
until = from + order.seconds * 1_000
if (order.rate === undefined) for (const lane of lanes) lane.send(performance.now())
else {
  idle.push(...lanes)
  let scheduled = 0
  const clock = setInterval(() => {
    const now = performance.now()
    if (now >= until) return clearInterval(clock)
    for (; scheduled < ((now - start) / 1_000) * order.rate!; scheduled++) {
      const since = start + (scheduled / order.rate!) * 1_000
      // In turn: a server with several workers gets the same load on each.
      const lane = idle.shift()
      if (lane === undefined) due.push(since)
      else lane.send(since)
    }
  }, TICK)
}
setTimeout(
  () => {
    for (const lane of lanes) lane.end()
    const report: LoadReport = {
      seconds: order.seconds,
      elapsed: (performance.now() - start) / 1_000,
      served: summary(latencies.flatMap(({ served }) => served)),
      servedFromSent: summary(latencies.flatMap(({ sent }) => sent)),
      refused: summary(latencies.flatMap(({ refused }) => refused)),
      paths: Object.fromEntries(
        [...new Set(firstOf)].map(at => {
          const { served, sent, refused } = latencies[at]!
          return [paths[at]!, { served: summary(served), servedFromSent: summary(sent), refused: summary(refused) }]
        })
      ),
      failed,
      unsent: unsent + due.slice(oldest).filter(since => since >= from).length,
      malformed
    }
    console.log(JSON.stringify(report))
  },
  until - performance.now() + 300
)

function summary(values: number[]): StatusReport {
  const sorted = Float64Array.from(values).sort()
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
  return { count: sorted.length, p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) }
}
