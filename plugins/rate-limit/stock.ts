import type { CreateRateLimitOptions, FastifyRateLimitStore } from '@fastify/rate-limit'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { loadPackages } from '../lib/packages.ts'
import type { Quota, Verdict } from './gcra.ts'
import type { RateLimitStore } from './store.ts'

/** Counts a request under its key. */
export type Check = (request: FastifyRequest) => Promise<Verdict>
/** Creates the check of one class, for the key that `keyOf` finds in a request. */
export type CreateCheck = (rateClass: string, quota: Quota, keyOf: (request: FastifyRequest) => string) => Check

/** The options of `createRateLimit` reach the store through `child()`, including our two keys. */
interface ClassOptions extends CreateRateLimitOptions {
  rateClass: string
  quota: Quota
}

/**
 * Puts a store behind `@fastify/rate-limit`, in a separate scope, since its decorators are not ours to expose.
 *
 * Its counters are windows: `current` of `max`, for `ttl` milliseconds. A bucket maps onto them as follows: `max` is
 * the burst, `current` the tokens taken, or one more than the bucket holds, and `ttl` the wait for the next token.
 */
export async function driveByStock(app: FastifyInstance, store: () => RateLimitStore): Promise<CreateCheck> {
  const load = () => import('@fastify/rate-limit')
  const { default: stock } = await loadPackages('rhone-rate-limit', ['@fastify/rate-limit'], load)
  const { promise, resolve } = Promise.withResolvers<CreateCheck>()
  await app.register(async scope => {
    await scope.register(stock, { global: false, store: storeClass(store) })
    resolve((rateClass, quota, keyOf) => {
      const options: ClassOptions = {
        max: quota.burst,
        timeWindow: Math.ceil(quota.capacity),
        keyGenerator: keyOf,
        rateClass,
        quota
      }
      const check = scope.createRateLimit(options)
      return async request => {
        const result = await check(request)
        if (result.isAllowed) throw new Error('@fastify/rate-limit skipped a request, but no allow list is set')
        return { allowed: !result.isExceeded, remaining: result.remaining, retryAfter: result.ttlInSeconds }
      }
    })
  })
  return promise
}

function storeClass(store: () => RateLimitStore) {
  return class StockStore implements FastifyRateLimitStore {
    readonly #class: ClassOptions | undefined

    constructor(options: object) {
      this.#class = 'rateClass' in options ? (options as ClassOptions) : undefined
    }

    child(options: object): StockStore {
      return new StockStore(options)
    }

    incr(key: string, callback: Parameters<FastifyRateLimitStore['incr']>[1]): void {
      const { rateClass, quota } = this.#class!
      Promise.resolve(store().take(rateClass, key, quota)).then(
        ({ allowed, remaining, retryAfter }) =>
          callback(null, { current: allowed ? quota.burst - remaining : quota.burst + 1, ttl: retryAfter * 1000 }),
        callback
      )
    }
  }
}
