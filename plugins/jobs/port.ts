import type { FastifyBaseLogger } from 'fastify'
import type { Db } from '../lib/own-types.ts'

/** A kind of work that outlives the request, the process and the machine that has asked for it. */
export interface JobQueue<Data extends object = object> {
  /** Lower-case words with dashes; a label of metrics. */
  readonly name: string
  /** How many jobs of it one instance works on at a time. */
  readonly concurrency: number
  /** How many express jobs it works on beside those; without it they are the first in the same line. */
  readonly expressConcurrency?: number
  /** Seconds that one attempt may take; at most 23 hours. */
  readonly timeout: number
  /** How often a job that fails is tried again, before it is left for an operator to look at. */
  readonly retries: number
  /** Seconds before the first of these, one at least; it doubles with each, up to an hour, and is up to twice as long at random. */
  readonly retryDelay: number
  /**
   * Jobs of one key never run beside each other, over all instances, and each of them is done. They come in the order of
   * their sending, but for two that instances reach for at the same moment, and for those that wait to be tried again.
   * Jobs without a key have one in common.
   */
  readonly serial?: true
  /**
   * The same, but of those of one key that wait, the one that was sent first stands for all: good for work that looks for
   * itself what there is to do. Every scheduled queue is like this.
   */
  readonly coalesced?: true
  /** Runs it by itself: a cron expression in UTC, once for all instances. */
  readonly schedule?: string
  /** Its jobs wait while the platform is closed for maintenance; those under way go on. */
  readonly pausedInMaintenance?: true
  /** Does it, as often as it takes: what an earlier attempt has left is found and gone on from. */
  run(data: Data, job: JobContext): Promise<void>
}

export interface JobContext {
  readonly id: string
  /** 1 for the first. */
  readonly attempt: number
  readonly isLastAttempt: boolean
  /**
   * Aborted when the job is cancelled, has taken too long, was taken for lost, or the server stops; the last leaves it for
   * another instance. Its reason is an `AttemptEnded`. An attempt that ends after that is not taken for done, whatever it
   * returns; one that goes on may meet the next one.
   */
  readonly signal: AbortSignal
  readonly log: FastifyBaseLogger
}

export interface SendOptions {
  /** What jobs of a serial or coalesced queue follow each other by. */
  readonly key?: string
  /** Seconds to wait at least. */
  readonly after?: number
  /** A UUID to know the job by, drawn at random where there is none. A queue takes each one once. */
  readonly id?: string
  /** It is soon done, and need not wait for those that take long. */
  readonly express?: boolean
}

/** `dead`: its last attempt has failed, and only an operator can have it tried again. */
export const JOB_STATES = ['waiting', 'retrying', 'active', 'completed', 'cancelled', 'dead'] as const
export type JobState = (typeof JOB_STATES)[number]

/** A job as operators see it, without what it was sent with. */
export interface JobRecord {
  /** Of its queue and the id in it: `deploy.0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a`. */
  readonly id: string
  readonly queue: string
  readonly state: JobState
  readonly key: string | null
  /** 0 before the first. */
  readonly attempt: number
  /** Why the latest attempt has failed, fit to be shown. */
  readonly error: string | null
  readonly createdAt: Date
  /** Of the latest attempt. */
  readonly startedAt: Date | null
  readonly finishedAt: Date | null
}

export interface JobFilters {
  readonly queue?: string
  readonly state?: JobState
}

/** Where a job stands in a list that is newest first. */
export interface JobPosition {
  /** Microseconds since 1970. */
  readonly at: string
  /** A UUID that tells jobs of the same microsecond apart. */
  readonly id: string
}

export interface ListedJob extends JobRecord {
  readonly position: JobPosition
}

export interface Jobs {
  /**
   * Begins to work, having brought its tables and queues up to this version; as often as called until it has succeeded.
   * Resolves when jobs can be sent. Where only this instance's share is missing, that goes on behind it.
   */
  start(): Promise<void>
  /**
   * Adds a job, in the transaction of what it is about: neither happens without the other. `tx` null: by itself.
   *
   * @returns its id; null when there is one of this id, or one that waits and will do for both
   */
  send(tx: Db | null, queue: string, data: object, options?: SendOptions): Promise<string | null>
  /** Ends a job, wherever it runs. False when it is over already, or unknown. */
  cancel(tx: Db | null, queue: string, id: string): Promise<boolean>
  /** Newest first, those after a position. */
  list(filters: JobFilters, limit: number, after?: JobPosition): Promise<ListedJob[]>
  /**
   * Has a dead job tried once more.
   *
   * @param id of its queue and the id in it, as in {@link JobRecord}
   * @returns its queue; null when there is no such job
   * @throws CONFLICT when it is not dead, or another one waits that will do for both
   */
  retry(tx: Db, id: string): Promise<string | null>
}
