import type { Quota, Verdict } from './gcra.ts'

/** Where requests are counted. One bucket per class and key; a refused request costs no token. */
export interface RateLimitStore {
  take(rateClass: string, key: string, quota: Quota): Verdict | Promise<Verdict>
  /** Returns the token that `take` took. A store without this refunds nothing. */
  refund?(rateClass: string, key: string, quota: Quota): void | Promise<void>
}

/** Buckets in the memory of this process, counted without waiting. */
export interface LocalStore {
  take(rateClass: string, key: string, quota: Quota): Verdict
  refund(rateClass: string, key: string, quota: Quota): void
  /** The refusal that `take` would give, or undefined; nothing is counted. */
  refusal(rateClass: string, key: string, quota: Quota): Verdict | undefined
  /**
   * Takes over what another store knows: that at `at` this bucket had a debt of `debt`, or more.
   *
   * @param taken the part of it that was added for a request of this process, which counts here whatever the other store
   * makes of it: that may have lost its memory, or its clock may have been set
   * @returns the debt at `at` by what both know
   */
  learn(rateClass: string, key: string, debt: number, at: number, taken?: number): number
  /** Milliseconds on the clock that the buckets go by. */
  now(): number
}
