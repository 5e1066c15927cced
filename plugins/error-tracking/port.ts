import type { TraceFields } from '../lib/trace-context.ts'

/** An error, and where it happened. */
export interface ErrorReport {
  readonly error: unknown
  /** `fatal`: the process ends. */
  readonly level?: 'error' | 'fatal'
  /** The code of the reply. */
  readonly code?: string
  /** Method and pattern of the route. */
  readonly route?: string
  readonly requestId?: string
  readonly queue?: string
  readonly jobId?: string
  readonly userId?: string | undefined
  readonly trace?: TraceFields | undefined
}

/** `app.errorTracking` */
export interface ErrorTracking {
  /** Reports an error; never waits and never throws. Equal ones within a minute are counted instead. */
  capture(report: ErrorReport): void
  /** Waits for the delivery of captured errors. @returns whether it succeeded within `timeout` milliseconds */
  flush(timeout: number): Promise<boolean>
}
