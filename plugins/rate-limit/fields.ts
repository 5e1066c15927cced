import { headerLine } from '../lib/response-head.ts'
import type { Quota, Verdict } from './gcra.ts'

/** The fields of a reply about one quota, by themselves and as lines of its head. */
export interface LimitFields {
  readonly policy: string
  readonly limit: string
  readonly lines: string
}

/** Fields kept per class. Remaining counts that differ by this many share a place. */
const KEPT = 1024

/**
 * Writes the class's items of `RateLimit-Policy` and of `RateLimit`: what may be used, and for how many seconds it will
 * not be more. That is never later than the Retry-After beside it. Most replies find theirs ready.
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

/** The class's quota, and the seconds in which an empty bucket fills. */
const policyItem = (rateClass: string, { burst, capacity }: Quota): string =>
  `"${rateClass}";q=${burst};w=${Math.max(1, Math.ceil(capacity / 1000))}`
