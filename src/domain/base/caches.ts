import { sql } from 'drizzle-orm'
import type { Db } from './db.ts'

/** How a look-up is cached, in every process. Times are milliseconds. */
export interface CachePolicy {
  readonly ttl: number
  readonly max: number
  /** Share of `ttl` after which a value that is asked for is loaded again in the background. */
  readonly refreshAfter: number
  /** For how long past `ttl` a value is given while no new one can be loaded. 0 for what decides on access. */
  readonly staleIfError: number
  /** For how long a failure is remembered. */
  readonly errorTtl: number
  readonly maxBytes: number
  /** Keys that are loaded before the first request. */
  readonly warm: readonly string[]
}

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

const plain = { refreshAfter: 1, staleIfError: 0, errorTtl: 0, maxBytes: 0, warm: [] }

/** Everything that `plugins/cache` keeps. `docs/CACHING_STRATEGY.md` repeats this table. */
export const CACHES = {
  /** Regions open and close; old ones are still right while the database is away. */
  regions: {
    ...plain,
    ttl: 10 * MINUTE,
    max: 1,
    refreshAfter: 0.8,
    staleIfError: 24 * HOUR,
    errorTtl: SECOND,
    warm: ['all']
  },
  /** As long as the verdict on a token is cached. */
  profiles: { ...plain, ttl: 5 * SECOND, max: 10_000, maxBytes: 8_000_000 },
  /** Counts over whole tables. */
  admin_stats: { ...plain, ttl: 15 * SECOND, max: 1, refreshAfter: 0.8 },
  /** Nothing has been sampled since; and Prometheus is asked forty questions. A report for each window. */
  operations: { ...plain, ttl: 5 * SECOND, max: 10 },
  /** Asked of the platform that runs the app. */
  'app-metrics': { ...plain, ttl: 3 * SECOND, max: 1_000, maxBytes: 8_000_000 }
} as const satisfies Record<string, CachePolicy>

export type CacheName = keyof typeof CACHES

/** The channel on which the caches of all instances hear of changes. */
export const CACHE_CHANNEL = 'rhone_cache'

/**
 * Removes a value from the caches of all instances, this one included, when the transaction commits: neither before, when
 * the old value would be loaded again, nor ever, if it rolls back.
 *
 * @param key all values without it
 */
export async function forgetCached(tx: Db, name: CacheName, key?: string): Promise<void> {
  await tx.execute(sql`select pg_notify(${CACHE_CHANNEL}, ${JSON.stringify(key === undefined ? [name] : [name, key])})`)
}
