import { sql } from 'drizzle-orm'
import type { Db } from './db.ts'

/** How a lookup is cached, in every process. Times are in milliseconds. */
export interface CachePolicy {
  readonly ttl: number
  readonly max: number
  /** Share of `ttl` after which a requested value is reloaded in the background. */
  readonly refreshAfter: number
  /** How long past `ttl` a value is still returned if a reload fails. 0 for values that decide about access. */
  readonly staleIfError: number
  /** How long a failure is cached. */
  readonly errorTtl: number
  readonly maxBytes: number
  /** Keys loaded before the first request. */
  readonly warm: readonly string[]
}

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

const plain = { refreshAfter: 1, staleIfError: 0, errorTtl: 0, maxBytes: 0, warm: [] }

/** Everything that `plugins/cache` caches. `docs/CACHING_STRATEGY.md` repeats this table. */
export const CACHES = {
  /** Regions open and close rarely; old ones are still right while the database is down. */
  regions: {
    ...plain,
    ttl: 10 * MINUTE,
    max: 1,
    refreshAfter: 0.8,
    staleIfError: 24 * HOUR,
    errorTtl: SECOND,
    warm: ['all']
  },
  /** As long as a token's verification is cached. */
  profiles: { ...plain, ttl: 5 * SECOND, max: 10_000, maxBytes: 8_000_000 },
  /** Counts over whole tables. */
  admin_stats: { ...plain, ttl: 15 * SECOND, max: 1, refreshAfter: 0.8 },
  /** Computed from samples, and with a history from forty Prometheus queries. One report per window. */
  operations: { ...plain, ttl: 5 * SECOND, max: 10 },
  /** Fetched from the platform that runs the app. */
  'app-metrics': { ...plain, ttl: 3 * SECOND, max: 1_000, maxBytes: 8_000_000 }
} as const satisfies Record<string, CachePolicy>

export type CacheName = keyof typeof CACHES

/** The channel that notifies the caches of all instances of changes. */
export const CACHE_CHANNEL = 'rhone_cache'

/**
 * Removes a value from the caches of all instances, including this one, when the transaction commits: not before, when
 * the old value would be loaded again, and not if it rolls back.
 * @param key absent: all values
 */
export async function forgetCached(tx: Db, name: CacheName, key?: string): Promise<void> {
  await tx.execute(sql`select pg_notify(${CACHE_CHANNEL}, ${JSON.stringify(key === undefined ? [name] : [name, key])})`)
}
