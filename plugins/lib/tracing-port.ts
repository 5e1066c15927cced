import type { TraceContext } from './trace-context.ts'

/** Where a job came from. It is stored with the job, so an earlier version may have written it. */
export interface Origin {
  readonly requestId?: string | undefined
  readonly traceparent?: string | undefined
}

/** One attempt at a job, as the plugin `jobs` describes it. */
export interface TracedJob {
  readonly queue: string
  readonly id: string
  /** 1 for the first. */
  readonly attempt: number
}

/** The trace of one attempt at a job. */
export interface JobTrace {
  /** Undefined when no traces are kept. */
  readonly trace: TraceContext | undefined
  /** Runs the work; its calls become part of the trace. */
  run<T>(work: () => Promise<T>): Promise<T>
  /** @param failure why the attempt failed; undefined if it did not */
  end(outcome: string, failure?: unknown): void
}

/** `app.tracing`: lets plugins that start work elsewhere pass on where it came from. */
export interface Tracing {
  /** Where the work in progress came from; undefined outside of requests and jobs. */
  origin(): Origin | undefined
  job(job: TracedJob, origin: Origin | undefined): JobTrace
}
