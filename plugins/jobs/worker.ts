import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import type { PgBoss } from 'pg-boss'
import type { Db } from '../lib/own-types.ts'
import { isTransient, sqlState } from '../lib/postgres.ts'
import type { Tracing } from '../lib/tracing-port.ts'
import { type ClaimedJob, JobAttempt, type Verdict } from './attempt.ts'
import { affectedBy } from './boss.ts'
import { describeFailure } from './failure.ts'
import type { Outcome } from './metrics.ts'
import type { DeadJob, JobQueue } from './port.ts'
import { type Claim, notify, returnClaim, stateOf } from './statements.ts'

export interface WorkerSettings {
  readonly boss: PgBoss
  readonly db: Db
  readonly log: FastifyBaseLogger
  /** Milliseconds that a job may take to end after it is told to stop. */
  readonly grace: number
  /** Whether the queue's jobs must wait. */
  readonly isPaused: (queue: JobQueue) => boolean
  readonly channel: () => string
  readonly count: (queue: string, outcome: Outcome) => void
  /** Called with failures other than a job's own. */
  readonly onError: (error: unknown) => void
  /** Called with each job that has failed for good. */
  readonly onDead: (dead: DeadJob) => void
  readonly tracing: Pick<Tracing, 'job'> | undefined
}

/** A number of slots for jobs, and the priorities that they take. */
interface Lane {
  readonly count: number
  busy: number
  readonly takes: { readonly minPriority?: number; readonly maxPriority?: number }
}

/** Pause between attempts to record how a job ended, in milliseconds. */
const SETTLE_PAUSE = 1_000

/** Priority of express jobs; all others have 0. */
export const EXPRESS = 1

/** Runs the jobs of one queue with limited concurrency. Express jobs have slots of their own if the queue has any. */
export class Worker {
  readonly queue: JobQueue
  readonly #settings: WorkerSettings
  readonly #attempts = new Set<JobAttempt>()
  readonly #turns = new Set<Promise<void>>()
  /** Slots and how many are busy, including those of attempts that are over but whose work continues. */
  readonly #lanes: readonly Lane[]
  #taking: Promise<void> | undefined
  #isAwake = false
  #stopping = false

  constructor(queue: JobQueue, settings: WorkerSettings) {
    this.queue = queue
    this.#settings = settings
    const { concurrency, expressConcurrency: express = 0 } = queue
    this.#lanes = [
      { count: concurrency, busy: 0, takes: express > 0 ? { maxPriority: EXPRESS - 1 } : {} },
      { count: express, busy: 0, takes: { minPriority: EXPRESS } }
    ]
  }

  /** Attempts that are claimed and not yet settled. */
  get attempts(): Iterable<JobAttempt> {
    return this.#attempts
  }

  get hasFreeSlot(): boolean {
    return this.#lanes.some(lane => this.#isFree(lane))
  }

  /** Call when there may be work. */
  wake(): void {
    this.#isAwake = true
    this.#taking ??= this.#take().finally(() => {
      this.#taking = undefined
    })
  }

  /** Claims no more jobs, tells those in progress to stop, and puts them back. */
  async stop(): Promise<void> {
    this.#stopping = true
    for (const attempt of this.#attempts) attempt.end('stopping')
    await this.#taking
    await Promise.all(this.#turns)
  }

  async #take(): Promise<void> {
    while (this.#isAwake) {
      this.#isAwake = false
      try {
        for (const lane of this.#lanes) await this.#fill(lane)
      } catch (error) {
        this.#settings.onError(error)
      }
    }
  }

  async #fill(lane: Lane): Promise<void> {
    const { boss } = this.#settings
    while (this.#isFree(lane)) {
      const [job] = await boss.fetch<object>(this.queue.name, { includeMetadata: true, ...lane.takes })
      if (job === undefined) return
      this.#begin(job, lane)
    }
  }

  #isFree({ count, busy }: Lane): boolean {
    return !this.#stopping && busy < count && !this.#settings.isPaused(this.queue)
  }

  #begin(job: ClaimedJob, lane: Lane): void {
    const { log, tracing } = this.#settings
    const attempt = new JobAttempt(this.queue, job, log, tracing)
    if (this.#stopping) attempt.end('stopping')
    this.#attempts.add(attempt)
    lane.busy++
    const turn = this.#settle(attempt).catch(this.#settings.onError)
    this.#turns.add(turn)
    void turn.then(async () => {
      this.#turns.delete(turn)
      this.#attempts.delete(attempt)
      await attempt.settled()
      lane.busy--
      this.wake()
    })
  }

  async #settle(attempt: JobAttempt): Promise<void> {
    const verdict = await attempt.verdict(this.#settings.grace)
    const outcome = await this.#writeDown(attempt, verdict)
    const failure = 'failure' in verdict ? verdict.failure : undefined
    this.#settings.count(this.queue.name, outcome)
    attempt.trace?.end(outcome, failure)
    tell(attempt, outcome, failure)
    if (outcome === 'dead')
      this.#settings.onDead({ queue: this.queue.name, jobId: attempt.id, error: failure, trace: attempt.trace?.trace })
  }

  /** Retries until the database has recorded it, so that an outage does not cause finished work to be repeated. */
  async #writeDown(attempt: JobAttempt, verdict: Verdict): Promise<Outcome> {
    for (;;) {
      try {
        return await this.#record(attempt, verdict)
      } catch (error) {
        if (this.#stopping || !isTransient(error)) throw error
        this.#settings.onError(error)
        await delay(SETTLE_PAUSE, undefined, { ref: false })
      }
    }
  }

  async #record(attempt: JobAttempt, verdict: Verdict): Promise<Outcome> {
    const { boss } = this.#settings
    if ('ended' in verdict) {
      if (verdict.ended !== 'stopping') return verdict.ended
      return (await this.#putBack(attempt)) ? 'returned' : this.#taken(attempt)
    }
    const settled =
      'failure' in verdict
        ? await boss.fail(this.queue.name, claimOf(attempt), { message: describeFailure(verdict.failure) })
        : await boss.complete(this.queue.name, claimOf(attempt))
    if (affectedBy(settled) === 0) return this.#taken(attempt)
    if ('completed' in verdict) return 'completed'
    return attempt.isLast ? 'dead' : 'retried'
  }

  async #putBack(attempt: JobAttempt): Promise<boolean> {
    const { db, boss, channel } = this.#settings
    try {
      if (!(await returnClaim(db, claimOf(attempt)))) return false
      await notify(db, channel(), this.queue.name)
      return true
    } catch (error) {
      // Another waiting job covers this one too.
      if (sqlState(error) !== '23505') throw error
      return affectedBy(await boss.cancel(this.queue.name, claimOf(attempt))) > 0
    }
  }

  /** The claim was lost before the attempt could be settled. */
  async #taken(attempt: JobAttempt): Promise<Outcome> {
    return (await stateOf(this.#settings.db, attempt)) === 'cancelled' ? 'cancelled' : 'lost'
  }
}

function tell({ log }: JobAttempt, outcome: Outcome, err: unknown): void {
  if (outcome === 'dead') log.error({ err }, 'a job failed permanently')
  else if (outcome === 'retried') log.warn({ err }, 'a job failed and will be retried')
  else if (outcome === 'lost') log.warn({ err }, 'a job was reassigned while it was still running')
  else log.debug({ outcome }, 'a job has finished')
}

const claimOf = ({ name, id, retryCount }: Claim) => ({ name, id, retryCount })
