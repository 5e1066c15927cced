import { LRUCache } from 'lru-cache'

export interface CacheSettings {
  /** Milliseconds that a value stays fresh. */
  ttl: number
  /** Maximum number of values. */
  max: number
  /** Milliseconds past `ttl` for which a value is still returned if a new one cannot be loaded. Default 0. */
  staleIfError: number
  /** Whether to cache `null` and `undefined` too. By default they are loaded again each time. */
  keepMissing: boolean
}

export const OUTCOMES = ['hit', 'miss', 'stale', 'error'] as const
export type Outcome = (typeof OUTCOMES)[number]

export interface CacheEvents {
  onLookup(outcome: Outcome): void
  onEvict(): void
}

interface Entry<T> {
  value: T
  freshUntil: number
}

interface Loaded<T> {
  value: T
  isStale: boolean
}

/** A bounded in-memory cache that loads each value once, however many callers ask for it at the same time. */
export class LocalCache<T> {
  readonly #settings: CacheSettings
  readonly #events: CacheEvents
  readonly #entries: LRUCache<string, Entry<T>>
  readonly #loads = new Map<string, Promise<Loaded<T>>>()

  constructor(settings: CacheSettings, events: CacheEvents) {
    this.#settings = settings
    this.#events = events
    this.#entries = new LRUCache({
      max: settings.max,
      ttl: settings.ttl + settings.staleIfError,
      dispose: (_entry, _key, reason) => {
        if (reason === 'evict') events.onEvict()
      }
    })
  }

  async get(key: string, load: () => Promise<T>): Promise<T> {
    const entry = this.#entries.get(key)
    if (entry !== undefined && performance.now() < entry.freshUntil) {
      this.#events.onLookup('hit')
      return entry.value
    }
    const underWay = this.#loads.get(key)
    try {
      const { value, isStale } = await (underWay ?? this.#start(key, load))
      this.#events.onLookup(isStale ? 'stale' : underWay === undefined ? 'miss' : 'hit')
      return value
    } catch (error) {
      this.#events.onLookup('error')
      throw error
    }
  }

  /** A load in flight continues for the callers already waiting; its result is not cached. */
  invalidate(key: string): void {
    this.#entries.delete(key)
    this.#loads.delete(key)
  }

  clear(): void {
    this.#entries.clear()
    this.#loads.clear()
  }

  #start(key: string, load: () => Promise<T>): Promise<Loaded<T>> {
    const { promise, resolve, reject } = Promise.withResolvers<Loaded<T>>()
    this.#loads.set(key, promise)
    this.#run(key, load, () => this.#loads.get(key) === promise).then(resolve, reject)
    return promise
  }

  async #run(key: string, load: () => Promise<T>, isCurrent: () => boolean): Promise<Loaded<T>> {
    const { ttl, keepMissing } = this.#settings
    try {
      const value = await load()
      const isMissing = value === null || value === undefined
      if (isCurrent() && (keepMissing || !isMissing))
        this.#entries.set(key, { value, freshUntil: performance.now() + ttl })
      return { value, isStale: false }
    } catch (error) {
      const entry = this.#entries.get(key)
      if (entry === undefined) throw error
      return { value: entry.value, isStale: true }
    } finally {
      if (isCurrent()) this.#loads.delete(key)
    }
  }
}
