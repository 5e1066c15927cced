/** How far a chain of causes is followed; also what ends a chain that bites its tail. */
const MAX_CAUSES = 5

/** An error as it may be logged: what and where it is, and nothing of the data it was about. */
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
 * An allow-list. Drivers and clients hang statements, parameters, headers, bodies and tokens on the errors they throw;
 * no field is copied but those named here, and texts known to quote data are cut before the quotation.
 */
export function describeError(thrown: unknown, depth = 0): ErrorDescription {
  if (!(thrown instanceof Error)) return { type: typeof thrown, message: typeof thrown === 'string' ? thrown : '' }

  const { code, statusCode, cause, errors, stack } = thrown as KnownFields
  const message = withoutData(thrown)
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
  // Drizzle ends its message with the statement's parameters.
  if ('params' in error) return error.message.replace(/\n?params:.*$/s, '')
  // PostgreSQL quotes the offending value after a colon: `invalid input syntax for type uuid: "…"`.
  if ('severity' in error) return error.message.replace(/: ".*$/s, '')
  return error.message
}

/** The stack repeats the message, so that must be exchanged there as well. */
function frames(stack: string, error: Error, message: string): string {
  const at = stack.indexOf(error.message)
  if (at < 0) return message
  return stack.slice(0, at) + message + stack.slice(at + error.message.length)
}
