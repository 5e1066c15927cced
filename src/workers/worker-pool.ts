import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import { directLineOf } from '../../plugins/logging/logger.ts'
import { createSharedBuckets, releaseSharedBuckets } from '../../plugins/rate-limit/store-shared.ts'
import type { Config } from '../config/index.ts'
import type { Service } from '../instance.ts'
import { Member } from './member.ts'
import { type Report, receiveFault, sendConfig, type WorkerData } from './messages.ts'
import { Readings } from './readings.ts'

/**
 * Delay in milliseconds before a lost worker is replaced: doubled with each loss up to the second value, reset after
 * the third.
 */
const [FIRST_WAIT, LONGEST_WAIT, STEADY_AFTER] = [100, 10_000, 60_000]
/** Milliseconds between liveness pings to each worker, and how many may go unanswered. */
const [PULSE_INTERVAL, PULSES] = [5_000, 6]
/** The minimum connections per worker, so that a query can always run beside a transaction. */
const LEAST_POOL = 2

/**
 * Runs several apps on separate threads that share one port and act as one server: the system distributes connections
 * among them, limits are counted in shared memory, and a scrape of one covers all. A failed worker is replaced.
 */
export class WorkerPool implements Service {
  port = 0
  readonly #config: Config
  readonly #logger: Logger
  readonly #onLost: (error: Error) => void
  readonly #buckets = createSharedBuckets()
  readonly #members = new Set<Member>()
  readonly #readings = new Readings<Member>()
  readonly #listening = Promise.withResolvers<void>()
  readonly #completed = Promise.withResolvers<void>()
  readonly #stopping = new AbortController()
  #data: WorkerData | undefined
  #losses = 0
  #isUp = false
  #failure: Error | undefined

  /** @param onLost called when no worker is left and the next one fails as well */
  constructor(config: Config, logger: Logger, onLost: (error: Error) => void) {
    this.#config = config
    this.#logger = logger
    this.#onLost = onLost
    this.completed.catch(() => {})
  }

  get completed(): Promise<void> {
    return this.#completed.promise
  }

  async start(): Promise<void> {
    this.port = await freePort(this.#config)
    if (this.#stopping.signal.aborted) return
    this.#data = { config: sendConfig(this.#shareOf(this.#config)), buckets: this.#buckets }
    for (let count = 0; count < this.#config.workers; count++) this.#hire()
    void this.#takePulses()
    await this.#listening.promise
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    const ended = [...this.#members].map(member => member.ended)
    for (const member of this.#members) member.send({ type: 'stop' })
    await Promise.all(ended)
    if (this.#failure !== undefined) throw this.#failure
  }

  reloadCertificate(): void {
    for (const member of this.#members) member.send({ type: 'reload' })
  }

  #shareOf(config: Config): Config {
    const poolMax = Math.max(LEAST_POOL, Math.floor(config.database.poolMax / config.workers))
    return { ...config, port: this.port, database: { ...config.database, poolMax } }
  }

  #hire(): void {
    const member: Member = new Member(
      this.#data!,
      report => this.#onReport(member, report),
      error => this.#lose(member, error)
    )
    this.#members.add(member)
    member.ended.then(() => {
      this.#lose(member, new Error('the worker exited unexpectedly'))
      this.#members.delete(member)
      this.#readings.depart(member)
      releaseSharedBuckets(this.#buckets, member.threadId)
    })
  }

  #onReport(member: Member, report: Report): void {
    if (report.type === 'log') directLineOf(this.#logger)?.write(report.lines)
    else if (report.type === 'listening' || report.type === 'ready') this.#promote(member, report.type)
    else if (report.type === 'fault') this.#onFault(member, receiveFault(report.fault))
    else if (report.type === 'reading') this.#readings.note(member, report.text)
    else if (report.type === 'collect') void this.#collectFor(member, report.text)
    else if (report.type === 'stopped') {
      this.#readings.note(member, report.text)
      if (report.failure !== undefined) this.#failure = receiveFault(report.failure)
      member.terminate()
    }
  }

  /** A fault during shutdown cuts nothing short, but the process exits with an error. */
  #onFault(member: Member, error: Error): void {
    if (this.#stopping.signal.aborted) this.#failure = error
    else this.#lose(member, error)
  }

  #promote(member: Member, event: 'listening' | 'ready'): void {
    if (member.state === 'leaving') return
    member.state = event === 'ready' ? 'serving' : 'listening'
    const states = [...this.#members].map(({ state }) => state)
    if (!states.includes('starting')) this.#listening.resolve()
    if (states.every(state => state === 'serving')) {
      this.#isUp = true
      this.#completed.resolve()
    }
  }

  /** Once per worker, with the first reason reported. */
  #lose(member: Member, error: Error): void {
    if (member.state === 'leaving' || this.#stopping.signal.aborted) return
    const hasServed = member.state === 'serving'
    member.state = 'leaving'
    if (!this.#isUp) {
      this.#listening.reject(error)
      this.#completed.reject(error)
    } else if (hasServed || [...this.#members].some(({ state }) => state === 'serving')) {
      void this.#replace(member, error)
    } else {
      this.#onLost(error)
    }
  }

  async #replace(member: Member, error: Error): Promise<void> {
    if (performance.now() - member.startedAt > STEADY_AFTER) this.#losses = 0
    const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#losses++)
    this.#logger.error({ err: error, threadId: member.threadId, wait }, 'a worker was lost; starting a new one')
    if (await this.#pause(wait)) this.#hire()
  }

  /** A thread stuck in a loop looks alive to everyone but its clients. */
  async #takePulses(): Promise<void> {
    while (await this.#pause(PULSE_INTERVAL))
      for (const member of this.#members) {
        if (member.unansweredPings < PULSES) {
          member.ping()
        } else {
          this.#lose(member, new Error('the worker does not respond'))
          member.terminate()
        }
      }
  }

  async #collectFor(member: Member, text: string): Promise<void> {
    member.send({ type: 'peers', texts: await this.#readings.collect(member, text, this.#members) })
  }

  /** @returns false if the pool stops meanwhile */
  #pause(ms: number): Promise<boolean> {
    return delay(ms, true, { ref: false, signal: this.#stopping.signal }).catch(() => false)
  }
}

/**
 * Finds a port that no other process listens on; sockets that share a port would not notice. The port is free again on
 * return: the workers take it next.
 */
async function freePort({ host, port }: Config): Promise<number> {
  const server = createServer().listen({ host, port, exclusive: true })
  await once(server, 'listening')
  const { port: free } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return free
}
