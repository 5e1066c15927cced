import type { Quota, Verdict } from './gcra.ts'

/** Where requests are counted. One bucket per class and key; a refused request costs no token. */
export interface RateLimitStore {
  take(rateClass: string, key: string, quota: Quota): Verdict | Promise<Verdict>
  /** Returns the token that `take` took. A store without this refunds nothing. */
  refund?(rateClass: string, key: string, quota: Quota): void | Promise<void>
}

/** Buckets in the memory of this process, counted synchronously. */
export interface LocalStore {
  take(rateClass: string, key: string, quota: Quota): Verdict
  refund(rateClass: string, key: string, quota: Quota): void
  /** The refusal that `take` would give, or undefined; counts nothing. */
  refusal(rateClass: string, key: string, quota: Quota): Verdict | undefined
  /**
   * Merges what another store knows: at `at`, this bucket had a debt of at least `debt`.
   *
   * @param taken the part of it that a request of this process added, which counts here regardless of the other store:
   * that one may have lost its memory, or its clock may have been set
   * @returns the debt at `at` according to both
   */
  learn(rateClass: string, key: string, debt: number, at: number, taken?: number): number
  /** Milliseconds on the clock of the buckets. */
  now(): number
}
