/**
 * A reading that is made at most once per `ttl` milliseconds, however many ask for it, and never twice at a time. A
 * failed one is not kept.
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
