import type { PgBoss } from 'pg-boss'
import type { Db } from '../lib/own-types.ts'
import type { JobAttempt } from './attempt.ts'
import { affectedBy } from './boss.ts'
import { Schedule } from './schedule.ts'
import { dueQueues, lostClaims, renewClaims, retryNow, stateOf } from './statements.ts'
import type { Worker } from './worker.ts'

export interface CoordinatorSettings {
  readonly boss: PgBoss
  readonly db: Db
  readonly workers: readonly Worker[]
  /** Milliseconds between polls for jobs that are due. */
  readonly pollInterval: number
  /** Seconds. */
  readonly lease: number
  readonly onError: (error: unknown) => void
  /** The database answered. */
  readonly onSuccess: () => void
}

/** Renewals of a claim per lease. */
const RENEWALS = 3

/**
 * What an instance's workers share: polling for jobs that became due without a notification, renewing claims, finding
 * jobs that other instances lost, and the schedules.
 */
export class Coordinator {
  readonly #settings: CoordinatorSettings
  readonly #workers: ReadonlyMap<string, Worker>
  readonly #schedules: readonly Schedule[]
  #timer: NodeJS.Timeout | undefined
  #turning: Promise<void> | undefined
  #isStopping = false
  #renewAt = 0
  /** When the database last failed to answer, or when this started, as `performance.now()`. */
  #steadySince = performance.now()

  constructor(settings: CoordinatorSettings) {
    this.#settings = settings
    this.#workers = new Map(settings.workers.map(worker => [worker.queue.name, worker]))
    this.#schedules = settings.workers.flatMap(({ queue: { name, schedule } }) =>
      schedule === undefined
        ? []
        : [new Schedule(name, schedule, (cron, options) => settings.boss.previewSchedule(cron, options))]
    )
  }

  start(): void {
    if (this.#workers.size > 0) this.#wait(0)
  }

  wake(queue: string): void {
    this.#workers.get(queue)?.wake()
  }

  wakeAll(): void {
    for (const worker of this.#workers.values()) worker.wake()
  }

  cancelled(queue: string, id: string): void {
    for (const attempt of this.#workers.get(queue)?.attempts ?? []) if (attempt.id === id) attempt.end('cancelled')
  }

  /** Keeps renewing claims while the workers finish. */
  async stop(): Promise<void> {
    this.#isStopping = true
    await Promise.all(Array.from(this.#workers.values(), worker => worker.stop()))
    clearTimeout(this.#timer)
    this.#timer = undefined
    await this.#turning
  }

  #wait(pause: number): void {
    this.#timer = setTimeout(() => {
      this.#turning = this.#turn().then(() => {
        if (this.#timer !== undefined) this.#wait(this.#settings.pollInterval)
      })
    }, pause).unref()
  }

  async #turn(): Promise<void> {
    try {
      const now = performance.now()
      if (now >= this.#renewAt) {
        await this.#renew()
        if (!this.#isStopping) await this.#reap(now)
        this.#renewAt = now + (this.#settings.lease * 1_000) / RENEWALS
      }
      if (!this.#isStopping) await this.#findWork()
      this.#settings.onSuccess()
    } catch (error) {
      this.#steadySince = performance.now()
      this.#settings.onError(error)
    }
  }

  async #findWork(): Promise<void> {
    const { boss, db } = this.#settings
    for (const schedule of this.#schedules) await schedule.turn(Date.now(), id => boss.send(schedule.name, {}, { id }))
    const idle = [...this.#workers.values()].filter(worker => worker.hasFreeSlot)
    if (idle.length === 0) return
    for (const name of await dueQueues(
      db,
      idle.map(({ queue }) => queue.name)
    ))
      this.wake(name)
  }

  async #renew(): Promise<void> {
    const { db } = this.#settings
    const attempts: JobAttempt[] = [...this.#workers.values()].flatMap(worker => [...worker.attempts])
    if (attempts.length === 0) return
    for (const attempt of await renewClaims(db, attempts))
      attempt.end((await stateOf(db, attempt)) === 'cancelled' ? 'cancelled' : 'lost')
  }

  /** After an outage all claims are stale. No instance counts as lost until every instance has had time to renew. */
  async #reap(now: number): Promise<void> {
    const { boss, db, lease } = this.#settings
    if (now - this.#steadySince < (lease * 1_000) / 2) return
    for (const claim of await lostClaims(db, lease)) {
      if (!this.#workers.has(claim.name)) continue
      const failed = await boss.fail(claim.name, claim, { message: 'The instance that ran the job was lost' })
      if (affectedBy(failed) > 0) await retryNow(db, claim)
    }
  }
}
