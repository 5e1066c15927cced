import { errors } from '../../plugins/lib/errors.ts'
import { readInstant } from '../../plugins/lib/instant.ts'

/** Reads an instant that has the form of one; some that have it are none. */
export function parseInstant(field: string, text: string): Date {
  const instant = readInstant(text)
  if (Number.isNaN(instant)) throw errors.validation(field, 'must be an instant in time')
  return new Date(instant)
}

/**
 * When a token ends that another token is used to make. A token with an end cannot outlive itself in one that it makes.
 *
 * @param text absent: never
 * @param ownEnd when the token in use ends; absent: never
 */
export function parseExpiry(text: string | undefined, ownEnd: Date | undefined): Date | null {
  const end = text === undefined ? null : parseInstant('expiresAt', text)
  if (ownEnd !== undefined && (end === null || end > ownEnd))
    throw errors.validation('expiresAt', `must not be after ${ownEnd.toISOString()}, when the token in use expires`)
  return end
}
