import { redact } from './redact.ts'

/** Maximum length of a chain of causes that is followed; also ends a cyclic chain. */
const MAX_CAUSES = 5

/** An error in loggable form: what it is and where, without the data it concerned. */
export interface ErrorDescription {
  type: string
  message: string
  code?: string | number
  statusCode?: number
  stack?: string
  cause?: ErrorDescription
  errors?: ErrorDescription[]
}

interface KnownFields extends Error {
  code?: unknown
  statusCode?: unknown
  errors?: unknown
}

/**
 * An allow-list. Drivers and clients attach statements, parameters, headers, bodies and tokens to their errors; only
 * the fields named here are copied, and texts known to quote data are cut before the quotation.
 */
export function describeError(thrown: unknown, depth = 0): ErrorDescription {
  if (!(thrown instanceof Error))
    return { type: typeof thrown, message: typeof thrown === 'string' ? redact(thrown) : '' }

  const { code, statusCode, cause, errors, stack } = thrown as KnownFields
  const message = redact(withoutData(thrown))
  const description: ErrorDescription = { type: thrown.constructor?.name ?? thrown.name, message }
  if (typeof code === 'string' || typeof code === 'number') description.code = code
  if (typeof statusCode === 'number') description.statusCode = statusCode
  if (typeof stack === 'string') description.stack = message === thrown.message ? stack : frames(stack, thrown, message)
  if (depth === MAX_CAUSES) return description
  if (cause !== undefined && cause !== null) description.cause = describeError(cause, depth + 1)
  if (Array.isArray(errors))
    description.errors = errors.slice(0, MAX_CAUSES).map(each => describeError(each, depth + 1))
  return description
}

function withoutData(error: Error): string {
  // Drizzle appends the statement's parameters to its message.
  if ('params' in error) return error.message.replace(/\n?params:.*$/s, '')
  // PostgreSQL quotes the offending value after a colon: `invalid input syntax for type uuid: "…"`.
  if ('severity' in error) return error.message.replace(/: ".*$/s, '')
  return error.message
}

/** The stack repeats the message, so it must be replaced there as well. */
function frames(stack: string, error: Error, message: string): string {
  const at = stack.indexOf(error.message)
  if (at < 0) return message
  return stack.slice(0, at) + message + stack.slice(at + error.message.length)
}
