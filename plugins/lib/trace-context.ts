/*
 * A W3C `traceparent` is `00-<32 hex: trace>-<16 hex: parent>-<2 hex: flags>`; later versions may append to that.
 */
const TRACE_START = 3
const TRACE_END = 35
const PARENT_END = 52
const LENGTH = 55
const DASH = 45
const LOWER_HEX = /^(?!0+$)[0-9a-f]{32}$/

/** The trace id from a `traceparent` header; undefined if it is missing or invalid. */
export function traceIdOf(header: string | string[] | undefined): string | undefined {
  if (typeof header !== 'string' || header.length < LENGTH) return undefined
  if (header.charCodeAt(TRACE_START - 1) !== DASH) return undefined
  if (header.charCodeAt(TRACE_END) !== DASH || header.charCodeAt(PARENT_END) !== DASH) return undefined
  const traceId = header.slice(TRACE_START, TRACE_END)
  return LOWER_HEX.test(traceId) ? traceId : undefined
}
