import type { FastifyInstance, FastifyRequest } from 'fastify'

/** The position of some work in a trace, as W3C Trace Context names it. */
export interface TraceContext {
  /** 32 lower-case hexadecimal digits. */
  readonly traceId: string
  /** 16 lower-case hexadecimal digits. */
  readonly spanId: string
  /** Whether its spans are recorded, so that the trace can be looked up. */
  readonly sampled: boolean
}

/*
 * A W3C `traceparent` is `00-<32 hex: trace>-<16 hex: parent>-<2 hex: flags>`; later versions may append to that.
 */
const LENGTH = 55
const FORM = /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/
const SAMPLED = 1

/** Reads a `traceparent` header; undefined if it is missing or invalid, in which case a new trace begins. */
export function parseTraceparent(header: string | string[] | undefined): TraceContext | undefined {
  if (typeof header !== 'string' || header.length < LENGTH) return undefined
  const [, version, traceId, spanId, flags, rest] = FORM.exec(header) ?? []
  if (version === undefined || (version === '00' && rest !== undefined)) return undefined
  return { traceId: traceId!, spanId: spanId!, sampled: (Number.parseInt(flags!, 16) & SAMPLED) !== 0 }
}

export function formatTraceparent({ traceId, spanId, sampled }: TraceContext): string {
  return `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`
}

export const kTrace = Symbol('rhone.trace')
type Traced = { [kTrace]?: TraceContext | undefined }

/** Prepares requests for `setTrace`: a property that an object has from the start is cheaper than one added later. */
export function useTraces(app: FastifyInstance): void {
  if (!app.hasRequestDecorator(kTrace)) app.decorateRequest(kTrace, undefined)
}

/** Makes a request, and the lines it logs, part of a trace. */
export function setTrace(request: FastifyRequest, trace: TraceContext): void {
  ;(request as Traced)[kTrace] = trace
  ;(request.log as Traced)[kTrace] = trace
}

/** The trace that a request or its logger is part of; undefined without the tracing plugin. */
export function traceOf(traced: object): TraceContext | undefined {
  return (traced as Traced)[kTrace]
}

/** The fields of a log line that lead to the trace. */
export interface TraceFields {
  readonly traceId?: string
  readonly spanId?: string
  readonly sampled?: boolean
}

const NONE: TraceFields = {}

export const fieldsOf = ({ traceId, spanId, sampled }: TraceContext): Required<TraceFields> => ({
  traceId,
  spanId,
  sampled
})

/** The fields for a line about a request; without the tracing plugin, the trace of its caller alone. */
export function traceFields(request: FastifyRequest): TraceFields {
  const trace = traceOf(request)
  if (trace !== undefined) return fieldsOf(trace)
  const { traceparent } = request.headers
  if (traceparent === undefined) return NONE
  const caller = parseTraceparent(traceparent)
  return caller === undefined ? NONE : { traceId: caller.traceId }
}
