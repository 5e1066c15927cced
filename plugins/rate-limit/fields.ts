import type { Quota, Verdict } from './gcra.ts'

/** Texts kept per class. Remaining counts that differ by this many share a place. */
const KEPT = 1024

/** The class's item of `RateLimit-Policy`: its quota, and the seconds in which an empty bucket fills. */
export const policyItem = (rateClass: string, { burst, capacity }: Quota): string =>
  `"${rateClass}";q=${burst};w=${Math.max(1, Math.ceil(capacity / 1000))}`

/**
 * Writes the class's item of `RateLimit`: what may be used, and for how many seconds it will not be more. That is never
 * later than the Retry-After beside it. Most replies find their text ready.
 */
export function limitItem(rateClass: string): (verdict: Verdict) => string {
  const remainings = new Float64Array(KEPT).fill(-1)
  const waits = new Float64Array(KEPT)
  const texts: string[] = Array(KEPT).fill('')

  return ({ remaining, retryAfter }) => {
    const place = remaining % KEPT
    if (remainings[place] !== remaining || waits[place] !== retryAfter) {
      remainings[place] = remaining
      waits[place] = retryAfter
      texts[place] = `"${rateClass}";r=${remaining};t=${retryAfter}`
    }
    return texts[place]!
  }
}
