import { errors } from '../../../plugins/lib/errors.ts'
import { readInstant } from '../../../plugins/lib/instant.ts'

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

/**
 * An instant as PostgreSQL writes it, `2026-11-26 01:54:21.497123+00`, in ISO 8601: in a list that only passes it on, a
 * tenth of the time goes into Dates that are made of such texts and turned into text again.
 */
export function isoInstant(text: string): string {
  const isToBeCut = text.length >= 26 && text[19] === '.' && text.endsWith('+00')
  return isToBeCut ? `${text.slice(0, 10)}T${text.slice(11, 23)}Z` : new Date(text).toISOString()
}

/** The same as whole microseconds since 1970, exactly. */
export function microsecondsOf(text: string): string {
  const [, fraction = ''] = /\.(\d+)/.exec(text) ?? []
  return String(Math.floor(Date.parse(text) / 1_000) * 1_000_000 + Number(fraction.padEnd(6, '0')))
}
