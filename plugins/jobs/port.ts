import type { FastifyBaseLogger } from 'fastify'
import type { Db } from '../../drizzle/schema.ts'

/** A kind of work that outlives the request, the process and the machine that has asked for it. */
export interface JobQueue<Data extends object = object> {
  /** Lower-case words with dashes; a label of metrics. */
  readonly name: string
  /** How many jobs of it one instance works on at a time. */
  readonly concurrency: number
  /** Seconds that one attempt may take. */
  readonly timeout: number
  /** How often a job that fails is tried again, before it is left for an operator to look at. */
  readonly retries: number
  /** Seconds before the first of these; it doubles with each, at random within its half. */
  readonly retryDelay: number
  /** Jobs of one key follow each other, over all instances; of those that wait, the newest stands for all. */
  readonly serial?: true
  /** Runs it by itself: a cron expression in UTC, once for all instances. */
  readonly schedule?: string
  /** Does it, as often as it takes: what an earlier attempt has left is found and gone on from. */
  run(data: Data, job: JobContext): Promise<void>
}

export interface JobContext {
  readonly id: string
  /** 1 for the first. */
  readonly attempt: number
  readonly isLastAttempt: boolean
  /** Aborted when the job is cancelled, has taken too long, or the server stops; the last leaves it for another instance. */
  readonly signal: AbortSignal
  readonly log: FastifyBaseLogger
}

export interface SendOptions {
  /** What jobs of a serial queue follow each other by. */
  readonly key?: string
  /** Seconds to wait at least. */
  readonly after?: number
}

export interface Jobs {
  /**
   * Adds a job, in the transaction of what it is about: neither happens without the other. `tx` null: by itself.
   *
   * @returns its id; null when one of the same key waits already, which will do for both
   */
  send(tx: Db | null, queue: string, data: object, options?: SendOptions): Promise<string | null>
}
