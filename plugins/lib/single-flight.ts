/**
 * Shares one read among all callers: at most one per `ttl` milliseconds, and never two at a time. Failures are not
 * cached.
 */
export function singleFlight<T>(ttl: number, read: () => T | Promise<T>): () => Promise<T> {
  let latest: Promise<T> | null = null
  let freshUntil = 0

  return () => {
    if (latest !== null && performance.now() < freshUntil) return latest
    const reading = new Promise<T>(resolve => resolve(read()))
    latest = reading
    freshUntil = Number.POSITIVE_INFINITY
    reading.then(
      () => {
        freshUntil = performance.now() + ttl
      },
      () => {
        latest = null
      }
    )
    return reading
  }
}
