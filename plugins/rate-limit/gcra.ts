import type { Rate } from './rate.ts'

/**
 * The generic cell rate algorithm: a token bucket stored as one number, the instant at which it is full again.
 *
 * `debt` is how far that instant lies ahead, in milliseconds. A request adds one `interval`, time subtracts it again,
 * and a bucket whose debt would exceed its `capacity` refuses. A debt of 0 is a full bucket, which need not be stored.
 */
export interface Quota {
  readonly burst: number
  /** Milliseconds per token gained. */
  readonly interval: number
  /** The debt of an empty bucket: `burst` intervals. */
  readonly capacity: number
}

export interface Verdict {
  readonly allowed: boolean
  /** Requests that would be allowed right now. */
  readonly remaining: number
  /**
   * Whole seconds until one more would be allowed. For a refused request: when it succeeds, if the bucket is left
   * alone.
   */
  readonly retryAfter: number
}

/** A millionth of a token: rounding must never refuse a request at exactly the promised instant. */
const TOLERANCE = 1e-6

export function quotaOf({ ratePerSecond, burst }: Rate): Quota {
  const interval = 1000 / ratePerSecond
  return Object.freeze({ burst, interval, capacity: burst * interval })
}

/** Whether a bucket with this debt has a token left. */
export const hasToken = (debt: number, { interval, capacity }: Quota): boolean =>
  debt + interval <= capacity + interval * TOLERANCE

/** @param debt after the request was counted, if it was */
export function verdict(allowed: boolean, debt: number, { interval, capacity }: Quota): Verdict {
  const tokens = (capacity - debt) / interval
  const remaining = Math.max(0, Math.floor(tokens + TOLERANCE))
  const untilNext = (remaining + 1 - tokens) * interval
  const retryAfter = Math.max(1, Math.ceil((untilNext - (interval * TOLERANCE) / 2) / 1000))
  return { allowed, remaining, retryAfter }
}
