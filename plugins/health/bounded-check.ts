import { singleFlight } from '../lib/single-flight.ts'

/**
 * A check of something that may fail or hang. Returns `otherwise` on failure, and after `timeout` milliseconds. While
 * one check hangs, no other starts; later callers wait for the same one.
 */
export function boundedCheck<T>(check: () => T | Promise<T>, timeout: number, otherwise: T): () => Promise<T> {
  const ask = singleFlight(0, check)
  return () =>
    new Promise(resolve => {
      const timer = setTimeout(resolve, timeout, otherwise).unref()
      ask()
        .catch(() => otherwise)
        .then(answer => {
          clearTimeout(timer)
          resolve(answer)
        })
    })
}
