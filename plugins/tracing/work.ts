import type { Span } from '@opentelemetry/api'
import type { TraceContext } from '../lib/trace-context.ts'

/** The trace of a request or a job on this server, before and after it is decided whether to record it. */
export interface Trace extends TraceContext {
  /** Can still become true, never false again. */
  sampled: boolean
  /** The caller's span. */
  readonly parentId: string | undefined
  /** The caller asked for a recording, which has not been granted. */
  isAskedFor: boolean
  /** Milliseconds since the Unix epoch; 0 where the start does not matter. */
  readonly startedAt: number
  /** The span of the request or job itself, while it is recorded. */
  root: Span | undefined
  /** Calls recorded so far. */
  calls: number
}

/** What runs on behalf of a request or a job: the value of the asynchronous context. */
export interface Work {
  readonly requestId: string | undefined
  /** Undefined when no traces are kept. */
  readonly trace: Trace | undefined
}
