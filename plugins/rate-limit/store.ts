import type { Quota, Verdict } from './gcra.ts'

/** Where requests are counted. One bucket per class and key; a refused request costs no token. */
export interface RateLimitStore {
  take(rateClass: string, key: string, quota: Quota): Verdict | Promise<Verdict>
}
