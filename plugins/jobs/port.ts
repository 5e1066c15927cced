import type { FastifyBaseLogger } from 'fastify'
import type { Db } from '../lib/own-types.ts'
import type { TraceContext } from '../lib/trace-context.ts'

/** A kind of work that outlives the request, the process and the machine that requested it. */
export interface JobQueue<Data extends object = object> {
  /** Lower-case words with dashes; used as a metrics label. */
  readonly name: string
  /** How many of its jobs one instance runs concurrently. */
  readonly concurrency: number
  /** How many express jobs run in addition. Without it, express jobs go first in the same line. */
  readonly expressConcurrency?: number
  /** Timeout of one attempt, in seconds; at most 23 hours. */
  readonly timeout: number
  /** How often a failed job is retried before it is left for an operator. */
  readonly retries: number
  /** Seconds before the first retry, at least 1. Doubles with each, up to an hour; randomly up to twice as long. */
  readonly retryDelay: number
  /**
   * Jobs with the same key never run concurrently, on any instance, and all of them run. They run in the order sent,
   * except for two that instances claim at the same moment, and for those waiting for a retry. Jobs without a key share
   * one.
   */
  readonly serial?: true
  /**
   * Like `serial`, but of the waiting jobs of one key, the one sent first stands for all. Suits work that finds out by
   * itself what there is to do. Every scheduled queue is coalesced.
   */
  readonly coalesced?: true
  /** Cron expression in UTC: sends a job at these times, once for all instances. */
  readonly schedule?: string
  /** Its jobs wait while the platform is closed for maintenance; those in progress continue. */
  readonly pausedInMaintenance?: true
  /** Does the work, possibly several times: it must find and continue what an earlier attempt left. */
  run(data: Data, job: JobContext): Promise<void>
}

export interface JobContext {
  readonly id: string
  /** 1 for the first. */
  readonly attempt: number
  readonly isLastAttempt: boolean
  /**
   * Aborted when the job is cancelled, times out, counts as lost, or the server stops; in the last case another
   * instance takes the job. The reason is an `AttemptEnded`. An attempt that ends after that does not count as done,
   * whatever it returns; one that continues may overlap with the next.
   */
  readonly signal: AbortSignal
  readonly log: FastifyBaseLogger
}

export interface SendOptions {
  /** The key by which jobs of a serial or coalesced queue follow each other. */
  readonly key?: string
  /** Minimum delay in seconds. */
  readonly after?: number
  /** UUID of the job; random by default. A queue accepts each one once. */
  readonly id?: string
  /** A short job, which need not wait for long ones. */
  readonly express?: boolean
}

/** A job whose last attempt has failed. */
export interface DeadJob {
  readonly queue: string
  readonly jobId: string
  readonly error: unknown
  /** The trace of the last attempt, if it has one. */
  readonly trace: TraceContext | undefined
}

/** `dead`: the last attempt has failed, and only an operator can have the job retried. */
export const JOB_STATES = ['waiting', 'retrying', 'active', 'completed', 'cancelled', 'dead'] as const
export type JobState = (typeof JOB_STATES)[number]

/** A job as operators see it, without its data. */
export interface JobRecord {
  /** Its queue and its id there: `deploy.0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a`. */
  readonly id: string
  readonly queue: string
  readonly state: JobState
  readonly key: string | null
  /** 0 before the first attempt. */
  readonly attempt: number
  /** Why the latest attempt failed, safe to display. */
  readonly error: string | null
  readonly createdAt: Date
  /** Start of the latest attempt. */
  readonly startedAt: Date | null
  readonly finishedAt: Date | null
}

export interface JobFilters {
  readonly queue?: string
  readonly state?: JobState
}

/** A job's position in a list sorted newest first. */
export interface JobPosition {
  /** Microseconds since the Unix epoch. */
  readonly at: string
  /** A UUID that orders jobs within the same microsecond. */
  readonly id: string
}

export interface ListedJob extends JobRecord {
  readonly position: JobPosition
}

export interface Jobs {
  /**
   * Starts working, after upgrading the tables and queues to this version. May be called until it succeeds. Resolves
   * when jobs can be sent; if the tables exist already, the rest of the start continues in the background.
   */
  start(): Promise<void>
  /**
   * Adds a job in the transaction of the change it belongs to: both commit, or neither. `tx` null: no transaction.
   *
   * @returns its id; null if a job with this id exists, or if a waiting job covers this one too
   */
  send(tx: Db | null, queue: string, data: object, options?: SendOptions): Promise<string | null>
  /** Cancels a job, wherever it runs. False if it is over already, or unknown. */
  cancel(tx: Db | null, queue: string, id: string): Promise<boolean>
  /** Newest first, starting after a position. */
  list(filters: JobFilters, limit: number, after?: JobPosition): Promise<ListedJob[]>
  /**
   * Retries a dead job.
   *
   * @param id its queue and its id there, as in {@link JobRecord}
   * @returns its queue; null if there is no such job
   * @throws CONFLICT if it is not dead, or if another waiting job covers this one too
   */
  retry(tx: Db, id: string): Promise<string | null>
}
