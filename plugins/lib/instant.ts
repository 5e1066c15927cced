const FIRST = Date.parse('0001-01-01T00:00:00.000Z')
const LAST = Date.parse('9999-12-31T23:59:59.999Z')

/** Whether an instant (milliseconds since 1970) falls in the years that ISO 8601 and PostgreSQL write the same way. */
export function isWritable(instant: number): boolean {
  return instant >= FIRST && instant <= LAST
}

/**
 * Parses a `date-time` string to milliseconds since 1970. Returns NaN for leap seconds, which JavaScript does not
 * support, and if the offset moves the instant out of the range that can be stored.
 */
export function readInstant(text: string): number {
  const instant = Date.parse(text)
  return isWritable(instant) ? instant : Number.NaN
}
