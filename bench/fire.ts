import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { onCore } from './load.ts'

const run = promisify(execFile)
const CLIENT_CORE = 1

export interface LoadOrder {
  readonly url: string
  /** Requested in turn instead of the path of `url`. */
  readonly paths?: readonly string[]
  /** Default: GET. */
  readonly method?: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
  readonly connections: number
  readonly seconds: number
  /** Requests per second; none for a closed loop. */
  readonly rate?: number
}

export interface Latencies {
  /** Latency from the due time. */
  readonly served: StatusReport
  /** Latency from sending: without the wait for a free connection, which is the client's own. */
  readonly servedFromSent: StatusReport
  readonly refused: StatusReport
}

export interface LoadReport extends Latencies {
  /** Duration of the counted part of the run, and of the whole run. */
  readonly seconds: number
  readonly elapsed: number
  readonly paths: Readonly<Record<string, Latencies>>
  /** Replies that are neither 2xx nor 503, and connections that broke. */
  readonly failed: number
  readonly unsent: number
  /** Refusals without an envelope or a `Retry-After`. */
  readonly malformed: number
}

export interface StatusReport {
  readonly count: number
  /** Milliseconds. */
  readonly p50: number
  readonly p95: number
  readonly p99: number
  readonly max: number
}

/** Sends one request over many connections, from the client's own core. */
export async function fire(order: LoadOrder): Promise<LoadReport> {
  const [command, args] = onCore(CLIENT_CORE, process.execPath, [
    join(import.meta.dirname, 'clients/fire.ts'),
    JSON.stringify(order)
  ])
  const { stdout } = await run(command, args, { maxBuffer: 1e7 })
  return JSON.parse(stdout)
}
