import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import { errors } from '../lib/errors.ts'
import type { Db } from '../lib/own-types.ts'
import { isTransient, sqlState } from '../lib/postgres.ts'
import type { Tracing } from '../lib/tracing-port.ts'
import type { Postgres } from './adapter.ts'
import { affectedBy, type Boss, openBoss } from './boss.ts'
import { Coordinator } from './coordinator.ts'
import { addOrigin } from './envelope.ts'
import { toError } from './failure.ts'
import type { Outcome } from './metrics.ts'
import type { DeadJob, JobFilters, JobPosition, JobQueue, Jobs, ListedJob, SendOptions } from './port.ts'
import { isInstalled, listJobs, notify, parseJobId, stateOf } from './statements.ts'
import { EXPRESS, Worker } from './worker.ts'

export interface ServiceSettings {
  readonly db: Db
  readonly postgres: Postgres
  readonly log: FastifyBaseLogger
  readonly queues: readonly JobQueue[]
  readonly work: boolean
  readonly lease: number
  readonly pollInterval: number
  readonly grace: number
  readonly keepFinished: number
  readonly isPaused: () => boolean
  readonly count: (queue: string, outcome: Outcome) => void
  readonly onDead: (dead: DeadJob) => void
  readonly tracing: Tracing | undefined
}

/** Channel for cancellations. The payload is a queue and the id of a job in it, separated by a dot. */
const CANCELLED = 'rhone_jobs_cancelled'
/** First pause between attempts to start in the background, in milliseconds; doubles after each failure. */
const MIN_PAUSE = 1_000
const MAX_PAUSE = 30_000
/** How long a sender waits for the start, in milliseconds. The server's limit for idle transactions is longer. */
const START_PATIENCE = 5_000

/** `app.jobs` of an app that has a database. */
export class JobService implements Jobs {
  readonly #settings: ServiceSettings
  readonly #stopping = new AbortController()
  readonly #started = Promise.withResolvers<Boss>()
  #starting: Promise<void> | undefined
  #stopped: Promise<void> | undefined
  #boss: Boss | undefined
  #coordinator: Coordinator | undefined
  #channel = ''
  #isAway = false
  #unlisten: (() => Promise<void>) | undefined

  constructor(settings: ServiceSettings) {
    this.#settings = settings
    this.#started.promise.catch(() => {}) // its waiters get the error
  }

  async start(): Promise<void> {
    if (await isInstalled(this.#settings.db)) void this.#keepStarting()
    else await this.#begin()
  }

  async send(tx: Db | null, queue: string, data: object, options: SendOptions = {}): Promise<string | null> {
    const { boss, within } = await this.#opened()
    const { key, after, id, express } = options
    return boss.send(queue, addOrigin(data, this.#settings.tracing?.origin()), {
      ...(key !== undefined && { singletonKey: key }),
      ...(after !== undefined && { startAfter: after }),
      ...(id !== undefined && { id }),
      ...(express && { priority: EXPRESS }),
      ...(tx !== null && { db: within(tx) })
    })
  }

  async cancel(tx: Db | null, queue: string, id: string): Promise<boolean> {
    const { boss, within } = await this.#opened()
    const cancelled = await boss.cancel(queue, id, tx === null ? {} : { db: within(tx) })
    if (affectedBy(cancelled) === 0) return false
    await notify(tx ?? this.#settings.db, CANCELLED, `${queue}.${id}`)
    return true
  }

  async list(filters: JobFilters, limit: number, after?: JobPosition): Promise<ListedJob[]> {
    await this.#opened()
    return listJobs(this.#settings.db, filters, limit, after)
  }

  async retry(tx: Db, jobId: string): Promise<string | null> {
    const job = parseJobId(jobId)
    const { boss, within } = await this.#opened()
    const state = job === undefined ? null : await stateOf(tx, job)
    if (job === undefined || state === null) return null
    try {
      const retried = await boss.retry(job.name, job.id, { db: within(tx) })
      if (affectedBy(retried) === 0) throw errors.conflict('Only a dead job can be retried')
    } catch (error) {
      throw sqlState(error) === '23505'
        ? errors.conflict('Another job with the same key is already waiting', error)
        : error
    }
    await notify(tx, this.#channel, job.name)
    return job.name
  }

  /** Never rejects. */
  stop(): Promise<void> {
    this.#stopped ??= this.#close()
    return this.#stopped
  }

  async #opened(): Promise<Boss> {
    if (this.#boss !== undefined) return this.#boss
    const tooLate = delay(START_PATIENCE, undefined, { ref: false, signal: this.#stopping.signal })
    return Promise.race([
      this.#started.promise,
      tooLate.then(
        () => Promise.reject(errors.unavailable(1, 'Jobs have not started yet')),
        () => Promise.reject(errors.unavailable(1, 'The server is stopping'))
      )
    ])
  }

  #begin(): Promise<void> {
    this.#starting ??= this.#open().catch(error => {
      this.#starting = undefined
      throw error
    })
    return this.#starting
  }

  async #keepStarting(): Promise<void> {
    const { signal } = this.#stopping
    for (let failures = 0; !signal.aborted; failures++) {
      try {
        return await this.#begin()
      } catch (error) {
        this.#onError(error)
      }
      await delay(Math.min(MAX_PAUSE, MIN_PAUSE * 2 ** failures), undefined, { signal, ref: false }).catch(() => {})
    }
  }

  async #open(): Promise<void> {
    const boss = await this.#openBoss()
    try {
      if (this.#settings.work) await this.#setToWork(boss)
    } catch (error) {
      await boss.boss.stop({ graceful: false, close: false })
      throw error
    }
    this.#boss = boss
    this.#started.resolve(boss)
  }

  #openBoss(): Promise<Boss> {
    const { db, postgres, log, queues, keepFinished } = this.#settings
    return openBoss({
      db,
      postgres,
      queues,
      keepFinished,
      onError: error => this.#onError(error),
      onWarning: (message, data) => log.warn({ data }, `jobs: ${message}`),
      onChannel: channel => {
        this.#channel = channel
      },
      onJobs: queue => this.#coordinator?.wake(queue),
      onResync: () => this.#coordinator?.wakeAll()
    })
  }

  async #setToWork({ boss }: Boss): Promise<void> {
    const { db, postgres, log, queues, grace, isPaused, count, onDead, tracing, pollInterval, lease } = this.#settings
    const onError = (error: unknown) => this.#onError(error)
    const workers = queues.map(
      queue =>
        new Worker(queue, {
          boss,
          db,
          log,
          grace,
          count,
          onError,
          onDead,
          tracing,
          channel: () => this.#channel,
          isPaused: ({ pausedInMaintenance }) => pausedInMaintenance === true && isPaused()
        })
    )
    const coordinator = new Coordinator({
      boss,
      db,
      workers,
      pollInterval,
      lease,
      onError,
      onSuccess: () => this.#onSuccess()
    })
    this.#unlisten = await postgres.listen(
      CANCELLED,
      payload => {
        const [queue = '', id = ''] = payload.split('.')
        coordinator.cancelled(queue, id)
      },
      () => {}
    )
    this.#coordinator = coordinator
    coordinator.start()
  }

  async #close(): Promise<void> {
    this.#stopping.abort()
    try {
      await this.#starting?.catch(() => {}) // already reported
      await this.#coordinator?.stop()
      await this.#unlisten?.()
      await this.#boss?.boss.stop({ graceful: false, close: false })
    } catch (error) {
      this.#onError(error)
    }
  }

  /** Logs one line per outage, however many statements fail. */
  #onError(error: unknown): void {
    const { log } = this.#settings
    if (!isTransient(error)) log.error({ err: toError(error) }, 'jobs could not be coordinated')
    else if (!this.#isAway && !this.#stopping.signal.aborted) {
      this.#isAway = true
      log.warn({ err: error }, 'jobs are paused: the database cannot be reached')
    }
  }

  #onSuccess(): void {
    if (this.#isAway) this.#settings.log.info('jobs have resumed')
    this.#isAway = false
  }
}
