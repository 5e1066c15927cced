import { parseTraceparent } from '../lib/trace-context.ts'
import { Budget } from './budget.ts'
import type { TraceIds } from './ids.ts'
import type { Trace } from './work.ts'

export interface SamplingSettings {
  /** Share of traces to record, from 0 to 1. */
  readonly ratio: number
  /** Recordings per second that callers may request beyond the ratio. */
  readonly asked: number
  readonly ids: TraceIds
}

/**
 * Decides which traces to record, before anything is created for them. A caller's decision not to record is followed;
 * its decision to record is followed if the caller is known and the budget allows it. Anyone can send the flag, so
 * unknown callers get the same chance as requests without it, by our own random number: they choose the trace id, too.
 */
export class Sampling {
  readonly #settings: SamplingSettings
  readonly #asked: Budget

  constructor(settings: SamplingSettings) {
    this.#settings = settings
    this.#asked = new Budget(settings.asked)
  }

  /** The trace of a request. @param traceparent the header of that name */
  ofRequest(traceparent: string | string[] | undefined): Trace {
    const { ids } = this.#settings
    const caller = traceparent === undefined ? undefined : parseTraceparent(traceparent)
    if (caller === undefined) return this.#begin(ids.trace(), undefined, this.#isChosen(), false)
    const sampled = caller.sampled && this.#isChosen()
    const own = { traceId: caller.traceId, spanId: ids.span() }
    return this.#begin(own, caller.spanId, sampled, caller.sampled && !sampled)
  }

  /** Whether to record a trace because a known caller asked for it. */
  grants(): boolean {
    return this.#asked.take()
  }

  /** The trace of a job: always a new one, recorded if its sender's is. */
  ofJob(sender: string | undefined): Trace {
    const sampled = parseTraceparent(sender)?.sampled ?? this.#isChosen()
    return { ...this.#begin(this.#settings.ids.trace(), undefined, sampled, false), startedAt: Date.now() }
  }

  #isChosen(): boolean {
    const { ratio, ids } = this.#settings
    return ratio > 0 && (ratio >= 1 || ids.fraction() < ratio)
  }

  #begin(
    { traceId, spanId }: Pick<Trace, 'traceId' | 'spanId'>,
    parentId: string | undefined,
    sampled: boolean,
    isAskedFor: boolean
  ): Trace {
    return {
      traceId,
      spanId,
      parentId,
      sampled,
      isAskedFor,
      startedAt: sampled || isAskedFor ? Date.now() : 0,
      root: undefined,
      calls: 0
    }
  }
}
