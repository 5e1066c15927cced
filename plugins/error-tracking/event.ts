import type { Event, Exception } from '@sentry/node'
import { describeError, type ErrorDescription } from '../lib/describe-error.ts'
import { redactStrictly } from '../lib/redact.ts'
import type { ErrorReport } from './port.ts'

/** Reads the frames of a stack, outermost first. */
export type StackParser = (stack: string) => { filename?: string; function?: string; lineno?: number }[]

const MAX_MESSAGE = 1_000

/**
 * An event built from an allow-list: types, locations, messages without anything that looks like a secret, and ids
 * instead of personal data. It has no request, whose body, query and headers must not leave the server.
 */
export function eventOf(report: ErrorReport, parse: StackParser, repeats: number): Event {
  const { error, trace, userId, level = 'error' } = report
  const chain = chainOf(describeError(error))
  return {
    level,
    platform: 'node',
    exception: { values: chain.map(each => exceptionOf(each, parse, level !== 'fatal')).reverse() },
    fingerprint: [fingerprintOf(report)],
    tags: tagsOf(report),
    ...(userId !== undefined && { user: { id: userId } }),
    ...(repeats > 0 && { extra: { repeats } }),
    ...(trace?.traceId !== undefined && {
      contexts: { trace: { trace_id: trace.traceId, span_id: trace.spanId ?? trace.traceId.slice(16) } }
    })
  }
}

/** Two errors are the same if they have the same type and code, and were thrown and answered in the same place. */
export function fingerprintOf({ error, code, route, queue }: ErrorReport): string {
  if (!(error instanceof Error)) return [typeof error, code, route, queue].join('|')
  const place = /\n {4}at (.*)/.exec(error.stack ?? '')?.[1] ?? ''
  return [error.constructor?.name ?? error.name, code, route, queue, place].join('|')
}

function tagsOf({ code, route, requestId, queue, jobId }: ErrorReport): Record<string, string> {
  const tags = { code, route, requestId, queue, jobId }
  return Object.fromEntries(Object.entries(tags).filter((tag): tag is [string, string] => tag[1] !== undefined))
}

function exceptionOf(
  { type, message, code, stack }: ErrorDescription,
  parse: StackParser,
  handled: boolean
): Exception {
  const text = redactStrictly(message).slice(0, MAX_MESSAGE).toWellFormed()
  return {
    type,
    value: code === undefined || text.includes(String(code)) ? text : `${text} (${redactStrictly(String(code))})`,
    mechanism: { type: 'generic', handled },
    ...(stack !== undefined && { stacktrace: { frames: parse(stack) } })
  }
}

/** An error and its causes, outermost first. */
function chainOf(error: ErrorDescription): ErrorDescription[] {
  return error.cause === undefined ? [error] : [error, ...chainOf(error.cause)]
}
