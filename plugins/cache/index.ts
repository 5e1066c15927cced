import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { counter, gauge, tallies } from '../lib/metrics.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import type { Registry } from '../lib/registry.ts'
import type { CacheBus } from './bus.ts'
import { type CacheEvents, type CacheSettings, LocalCache, OUTCOMES } from './local-cache.ts'

export type { CacheBus, CacheSettings }

export const CacheOptions = Type.Object(
  {
    ttl: Type.Integer({
      default: 30_000,
      minimum: 1,
      description: 'Default time to live of a value, in milliseconds.'
    }),
    max: Type.Integer({
      default: 1_000,
      minimum: 1,
      description: 'Default maximum number of values per cache. The least recently used are evicted.'
    }),
    loadTimeout: Type.Integer({
      default: 5_000,
      minimum: 1,
      description: 'Default timeout of a load, in milliseconds.'
    })
  },
  { additionalProperties: false }
)
export type CacheOptions = Static<typeof CacheOptions>

export interface CacheDeps {
  registry?: Registry
  bus?: CacheBus
}

export interface Cache<T> {
  /** Returns a key's value: from memory if fresh, otherwise from `load`, which runs once for all concurrent callers. */
  get(key: string, load: () => Promise<T>): Promise<T>
  /**
   * Removes a value here immediately, and everywhere soon. Never rejects. Call it after the change is committed; a
   * change in PostgreSQL should notify the bus within its transaction instead.
   */
  invalidate(key: string): Promise<void>
  /** Names values that {@link Caches.warmUp} loads. */
  warm(keys: readonly string[], load: (key: string) => Promise<T>): void
  clear(): Promise<void>
}

export interface Caches {
  /** Returns the cache of that name. Later calls return the same cache, with the settings of the first call. */
  of<T>(name: string, settings?: Partial<CacheSettings>): Cache<T>
  /** Loads the values named by `warm`. Never rejects: a value that fails to load is loaded on its first use. */
  warmUp(): Promise<void>
}

declare module 'fastify' {
  interface FastifyInstance {
    cache: Caches
  }
}

/** Settings that a cache does not state. */
const PLAIN = { maxBytes: 0, refreshAfter: 1, staleIfError: 0, missingTtl: 0, errorTtl: 0 }

const cache: FastifyPluginAsync<PluginInput<typeof CacheOptions, CacheDeps>> = async (app, input) => {
  const defaults = parseOptions('rhone-cache', CacheOptions, input, ['registry', 'bus'])
  const { registry, bus } = input
  const caches = new Map<string, LocalCache<unknown>>()
  const warmers: (() => Promise<unknown>)[] = []
  let isWarm = false
  const requests = tallies(registry, {
    name: 'rhone_cache_requests_total',
    help: 'Lookups by outcome: hit, miss, stale (the load failed, an older value was returned), error (the load failed).',
    labelNames: ['cache', 'outcome']
  })
  const evictions = counter(registry, {
    name: 'rhone_cache_evictions_total',
    help: 'Values evicted because the cache was full.',
    labelNames: ['cache']
  })

  gauge(registry, {
    name: 'rhone_cache_entries',
    help: 'Values in each cache.',
    labelNames: ['cache'],
    collect() {
      for (const [name, { size }] of caches) this.set({ cache: name }, size)
    }
  })

  /** Counts the lookups of one cache. Its series start at zero: a rate misses the first event of a new series. */
  function lookups(name: string): CacheEvents['onLookup'] {
    for (const outcome of OUTCOMES) requests(name, outcome)
    evictions.inc({ cache: name }, 0)
    const hits = requests(name, 'hit')
    return outcome => (outcome === 'hit' ? hits : requests(name, outcome)).add()
  }

  function open<T>(name: string, settings: Partial<CacheSettings>): LocalCache<T> {
    const known = caches.get(name)
    if (known !== undefined) return known as LocalCache<T>
    const fresh = new LocalCache<T>(
      { ...PLAIN, ...defaults, ...settings },
      {
        onLookup: lookups(name),
        onEvict: () => evictions.inc({ cache: name })
      }
    )
    caches.set(name, fresh as LocalCache<unknown>)
    return fresh
  }

  async function publish(name: string, key?: string): Promise<void> {
    try {
      await bus?.publish(name, key)
    } catch (err) {
      app.log.warn(
        { err, cache: name },
        'other instances were not notified of a change and keep the old value until it expires'
      )
    }
  }

  function forget(name: string, key: string | undefined): void {
    if (key === undefined) caches.get(name)?.clear()
    else caches.get(name)?.invalidate(key)
  }

  async function warmUp(): Promise<void> {
    isWarm = true
    const results = await Promise.allSettled(warmers.map(warm => warm()))
    for (const { reason } of results.filter(result => result.status === 'rejected'))
      app.log.warn({ err: reason }, 'a cache could not be warmed up')
  }

  /** Values loaded before this instance received changes may be stale, including those loaded to warm up. */
  async function startOver(): Promise<void> {
    for (const local of caches.values()) local.clear()
    if (isWarm) await warmUp()
  }

  app.decorate('cache', {
    of<T>(name: string, settings: Partial<CacheSettings> = {}): Cache<T> {
      const local = open<T>(name, settings)
      return {
        get: (key, load) => local.get(key, load),
        invalidate: key => {
          local.invalidate(key)
          return publish(name, key)
        },
        clear: () => {
          local.clear()
          return publish(name)
        },
        warm: (keys, load) => void warmers.push(...keys.map(key => () => local.get(key, () => load(key))))
      }
    },
    warmUp
  })

  if (bus !== undefined) {
    let unsubscribe: (() => Promise<void>) | undefined
    app.addHook('onReady', async () => {
      unsubscribe = await bus.subscribe(forget, () => void startOver())
    })
    app.addHook('onClose', () => unsubscribe?.())
  }
}

export default fp(cache, { name: 'rhone-cache', fastify: '5.x' })
