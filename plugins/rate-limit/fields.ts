import { headerLine } from '../lib/response-head.ts'
import type { Quota, Verdict } from './gcra.ts'

/** The header fields about one quota, separately and as raw header lines. */
export interface LimitFields {
  readonly policy: string
  readonly limit: string
  readonly lines: string
}

/** Cached fields per class. Remaining counts that differ by a multiple of this share a slot. */
const KEPT = 1024

/**
 * Writes the class's items of `RateLimit-Policy` and `RateLimit`: how much may be used, and for how many seconds that
 * will not increase. That is never later than the accompanying Retry-After. Most replies find theirs cached.
 */
export function limitFields(rateClass: string, quota: Quota): (verdict: Verdict) => LimitFields {
  const policy = policyItem(rateClass, quota)
  const policyLine = headerLine('ratelimit-policy', policy)
  const remainings = new Float64Array(KEPT).fill(-1)
  const waits = new Float64Array(KEPT)
  const kept: LimitFields[] = Array(KEPT)

  return ({ remaining, retryAfter }) => {
    const place = remaining % KEPT
    if (remainings[place] !== remaining || waits[place] !== retryAfter) {
      remainings[place] = remaining
      waits[place] = retryAfter
      const limit = `"${rateClass}";r=${remaining};t=${retryAfter}`
      kept[place] = { policy, limit, lines: policyLine + headerLine('ratelimit', limit) }
    }
    return kept[place]!
  }
}

/** The class's quota, and the time in seconds that an empty bucket takes to fill. */
const policyItem = (rateClass: string, { burst, capacity }: Quota): string =>
  `"${rateClass}";q=${burst};w=${Math.max(1, Math.ceil(capacity / 1000))}`
