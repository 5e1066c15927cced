import { setTimeout as delay } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'

export interface CacheSettings {
  /** Milliseconds that a value stays fresh, less a random tenth, so that values loaded together do not age together. */
  ttl: number
  /** Maximum number of values. */
  max: number
  /** Maximum size of all values in bytes of JSON; 0 for no bound but `max`. */
  maxBytes: number
  /**
   * Share of `ttl` after which a requested value is reloaded in the background, so that a busy key never waits. 1:
   * never.
   */
  refreshAfter: number
  /** Milliseconds past `ttl` for which a value is still returned if a new one cannot be loaded. Default 0. */
  staleIfError: number
  /** Milliseconds that `null` and `undefined` stay fresh. Default 0: they are loaded again each time. */
  missingTtl: number
  /**
   * Milliseconds after a failed load during which callers get the same failure, or the stale value, without another
   * try.
   */
  errorTtl: number
  /** Milliseconds after which a load counts as failed. A later result is discarded. */
  loadTimeout: number
}

export const OUTCOMES = ['hit', 'miss', 'stale', 'error'] as const
export type Outcome = (typeof OUTCOMES)[number]

export interface CacheEvents {
  onLookup(outcome: Outcome): void
  onEvict(): void
}

interface Kept<T> {
  readonly value: T
  readonly refreshAt: number
  readonly freshUntil: number
  /** When to try again after a failed load. */
  retryAt: number
}

interface Failed {
  readonly error: unknown
  readonly freshUntil: number
}

type Entry<T> = Kept<T> | Failed

interface Loaded<T> {
  value: T
  isStale: boolean
}

type Load<T> = () => Promise<T>

const JITTER = 0.1

/** A bounded in-memory cache that loads each value once, however many callers ask for it at the same time. */
export class LocalCache<T> {
  readonly #settings: CacheSettings
  readonly #events: CacheEvents
  readonly #entries: LRUCache<string, Entry<T>>
  readonly #loads = new Map<string, Promise<Loaded<T>>>()

  constructor(settings: CacheSettings, events: CacheEvents) {
    this.#settings = settings
    this.#events = events
    this.#entries = new LRUCache<string, Entry<T>>({
      max: settings.max,
      ...(settings.maxBytes > 0 && { maxSize: settings.maxBytes, sizeCalculation: sizeOf }),
      dispose: (_entry, _key, reason) => {
        if (reason === 'evict') events.onEvict()
      }
    })
  }

  /** Values and remembered failures, old ones included. */
  get size(): number {
    return this.#entries.size
  }

  async get(key: string, load: Load<T>): Promise<T> {
    const entry = this.#entries.get(key)
    const now = performance.now()
    if (entry !== undefined && 'error' in entry) {
      if (now < entry.freshUntil) return this.#fail(entry.error)
    } else if (entry !== undefined) {
      if (now >= entry.refreshAt && now >= entry.retryAt && now < entry.freshUntil) this.#refresh(key, load)
      if (now < entry.freshUntil || now < entry.retryAt) {
        this.#events.onLookup(now < entry.freshUntil ? 'hit' : 'stale')
        return entry.value
      }
    }
    const underWay = this.#loads.get(key)
    try {
      const { value, isStale } = await (underWay ?? this.#start(key, load))
      this.#events.onLookup(isStale ? 'stale' : underWay === undefined ? 'miss' : 'hit')
      return value
    } catch (error) {
      return this.#fail(error)
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

  #fail(error: unknown): never {
    this.#events.onLookup('error')
    throw error
  }

  /** No caller waits for it: if it fails, the current value stays in use until it is stale. */
  #refresh(key: string, load: Load<T>): void {
    if (!this.#loads.has(key)) this.#start(key, load).catch(() => {})
  }

  #start(key: string, load: Load<T>): Promise<Loaded<T>> {
    const { promise, resolve, reject } = Promise.withResolvers<Loaded<T>>()
    this.#loads.set(key, promise)
    this.#run(key, load, () => this.#loads.get(key) === promise).then(resolve, reject)
    return promise
  }

  async #run(key: string, load: Load<T>, isCurrent: () => boolean): Promise<Loaded<T>> {
    try {
      const value = await this.#inTime(load)
      if (isCurrent()) this.#keep(key, value)
      return { value, isStale: false }
    } catch (error) {
      const entry = this.#entries.get(key)
      const now = performance.now()
      if (entry !== undefined && 'value' in entry && now < entry.freshUntil + this.#settings.staleIfError) {
        entry.retryAt = now + this.#settings.errorTtl
        return { value: entry.value, isStale: true }
      }
      if (isCurrent() && this.#settings.errorTtl > 0)
        this.#entries.set(key, { error, freshUntil: now + this.#settings.errorTtl })
      throw error
    } finally {
      if (isCurrent()) this.#loads.delete(key)
    }
  }

  #keep(key: string, value: T): void {
    const isMissing = value === null || value === undefined
    const ttl = isMissing ? this.#settings.missingTtl : this.#settings.ttl
    // The value no longer exists, so the old one must not be served as stale.
    if (ttl === 0) return void this.#entries.delete(key)
    const now = performance.now()
    const life = ttl * (1 - JITTER * Math.random())
    const refreshAt = now + life * this.#settings.refreshAfter
    this.#entries.set(key, { value, refreshAt, freshUntil: now + life, retryAt: 0 })
  }

  async #inTime(load: Load<T>): Promise<T> {
    const over = new AbortController()
    const { loadTimeout } = this.#settings
    const late = delay(loadTimeout, undefined, { signal: over.signal, ref: false }).then(() => {
      throw new Error(`the load did not finish within ${loadTimeout} ms`)
    })
    late.catch(() => {})
    try {
      return await Promise.race([load(), late])
    } finally {
      over.abort()
    }
  }
}

/** At least 1, as the bound requires. */
function sizeOf(entry: Entry<unknown>): number {
  return 'value' in entry ? Math.max(1, Buffer.byteLength(JSON.stringify(entry.value) ?? '')) : 1
}
