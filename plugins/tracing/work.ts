import type { Span } from '@opentelemetry/api'
import type { TraceContext } from '../lib/trace-context.ts'

/** The trace of a request or job on this server, before and after the decision to record it. */
export interface Trace extends TraceContext {
  /** May change to true, but never back. */
  sampled: boolean
  /** The caller's span. */
  readonly parentId: string | undefined
  /** The caller requested a recording, which has not been granted. */
  isAskedFor: boolean
  /** Milliseconds since the Unix epoch; 0 where the start does not matter. */
  readonly startedAt: number
  /** The span of the request or job itself, while it is recorded. */
  root: Span | undefined
  /** Calls recorded so far. */
  calls: number
}

/** The request or job that code runs for: the value of the asynchronous context. */
export interface Work {
  readonly requestId: string | undefined
  /** Undefined when there are no traces. */
  readonly trace: Trace | undefined
}
