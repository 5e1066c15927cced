import { randomFillSync } from 'node:crypto'
import { threadId } from 'node:worker_threads'
import { hasToken, type Quota, type Verdict, verdict } from './gcra.ts'
import { KeyedHash } from './keyed-hash.ts'
import { RATE_CLASSES } from './limiter.ts'
import type { LocalStore } from './store.ts'
import type { Clock } from './store-memory.ts'

/** The memory in which all threads of a process count. */
export type SharedBuckets = SharedArrayBuffer

/** Buckets of a set that belong to keys; one more is shared by new keys while all of these are in use. */
const WAYS = 8
const OVERFLOW = WAYS
const PLACES = WAYS + 1
/** Mean number of keys per set when the table is at capacity; with eight ways few sets then overflow. */
const KEYS_PER_SET = 4

const HEADER_BYTES = 16
/** Per slot: the instant at which the bucket is full again, 8 bytes, and the 64-bit hash of its key. */
const SET_BYTES = PLACES * (8 + 8) + 4

const FREE = 0
/** A set is locked for less than a microsecond, unless the system suspends the lock holder. */
const SPINS = 200
const PAUSE_MS = 0.1

/**
 * @param maxKeys how many buckets each class should have room for; memory is allocated as they come into use
 * @param ownClasses the number of classes besides the plugin's: the keys of its option `classes`
 */
export function createSharedBuckets(maxKeys = 100_000, ownClasses = 0): SharedBuckets {
  const sets = 2 ** Math.max(1, Math.ceil(Math.log2(maxKeys / KEYS_PER_SET)))
  const classes = RATE_CLASSES.length + ownClasses
  const buckets = new SharedArrayBuffer(HEADER_BYTES + classes * sets * SET_BYTES)
  randomFillSync(new Uint8Array(buckets, 0, 8))
  classCountIn(buckets)[0] = classes
  return buckets
}

/** Releases locks held by a thread that was terminated from outside. */
export function releaseSharedBuckets(buckets: SharedBuckets, thread: number): void {
  for (const table of tablesIn(buckets))
    for (let set = 0; set < table.locks.length; set++) Atomics.compareExchange(table.locks, set, thread + 1, FREE)
}

/**
 * Buckets shared by all threads of a process, so that a limit holds regardless of which thread got the connection.
 * Stores 64-bit hashes rather than keys; slots are found in a set of eight. As in `MemoryStore`, only a full bucket is
 * evicted: while all buckets of a set are in use, new keys of that set share one.
 */
export class SharedStore implements LocalStore {
  readonly #tables: ReadonlyMap<string, SharedTable>
  readonly #hash: KeyedHash
  readonly now: Clock

  /** @param classes the counted classes, in the same order in every thread */
  constructor(buckets: SharedBuckets, classes: readonly string[] = RATE_CLASSES, now: Clock = machineTime) {
    const [key0, key1] = new Int32Array(buckets, 0, 2)
    const tables = tablesIn(buckets)
    if (tables.length !== classes.length)
      throw new Error(`the shared buckets are for ${tables.length} rate classes, not for ${classes.length}`)
    this.#tables = new Map(classes.map((rateClass, index) => [rateClass, tables[index]!]))
    this.#hash = new KeyedHash(key0!, key1!)
    this.now = now
  }

  take(rateClass: string, key: string, quota: Quota): Verdict {
    const table = this.#table(rateClass)
    const { high, low } = this.#hashOf(key)
    const set = table.lock(low)
    const now = this.now()
    const place = table.find(set, high, low) ?? table.claim(set, high, low, now)
    const debt = Math.max(0, table.fullAt[place]! - now)
    const allowed = hasToken(debt, quota)
    if (allowed) table.fullAt[place] = now + debt + quota.interval
    table.unlock(set)
    return verdict(allowed, allowed ? debt + quota.interval : debt, quota)
  }

  refund(rateClass: string, key: string, quota: Quota): void {
    const table = this.#table(rateClass)
    const { high, low } = this.#hashOf(key)
    const set = table.lock(low)
    const place = table.find(set, high, low)
    if (place !== undefined) table.fullAt[place]! -= quota.interval
    table.unlock(set)
  }

  refusal(rateClass: string, key: string, quota: Quota): Verdict | undefined {
    const table = this.#table(rateClass)
    const { high, low } = this.#hashOf(key)
    const set = table.lock(low)
    const place = table.find(set, high, low)
    const debt = place === undefined ? 0 : Math.max(0, table.fullAt[place]! - this.now())
    table.unlock(set)
    return hasToken(debt, quota) ? undefined : verdict(false, debt, quota)
  }

  learn(rateClass: string, key: string, debt: number, at: number, taken = 0): number {
    const table = this.#table(rateClass)
    const { high, low } = this.#hashOf(key)
    const set = table.lock(low)
    const place = table.find(set, high, low) ?? table.claim(set, high, low, this.now())
    const known = isOverflow(place) ? debt : Math.max(Math.max(0, table.fullAt[place]! - at) + taken, debt)
    if (!isOverflow(place)) table.fullAt[place] = at + known
    table.unlock(set)
    return known
  }

  #table(rateClass: string): SharedTable {
    const table = this.#tables.get(rateClass)
    if (table === undefined) throw new Error(`no shared buckets for the class "${rateClass}"`)
    return table
  }

  #hashOf(key: string): KeyedHash {
    this.#hash.update(key)
    return this.#hash
  }
}

/** One class: slots in sets, and for each set a lock that names the thread that holds it. */
class SharedTable {
  readonly fullAt: Float64Array
  readonly locks: Int32Array
  readonly #tags: Int32Array

  constructor(buckets: SharedBuckets, offset: number, sets: number) {
    this.fullAt = new Float64Array(buckets, offset, sets * PLACES)
    this.#tags = new Int32Array(buckets, offset + sets * PLACES * 8, sets * PLACES * 2)
    this.locks = new Int32Array(buckets, offset + sets * PLACES * 16, sets)
  }

  /** @returns the set of a key, locked for the caller until it unlocks it */
  lock(low: number): number {
    const set = low & (this.locks.length - 1)
    for (let tries = 1; ; tries++) {
      const holder = Atomics.compareExchange(this.locks, set, FREE, threadId + 1)
      if (holder === FREE) return set
      if (tries > SPINS) Atomics.wait(this.locks, set, holder, PAUSE_MS)
    }
  }

  unlock(set: number): void {
    Atomics.store(this.locks, set, FREE)
  }

  find(set: number, high: number, low: number): number | undefined {
    const first = set * PLACES
    for (let place = first; place < first + WAYS; place++)
      if (this.#tags[place * 2] === low && this.#tags[place * 2 + 1] === high) return place
    return undefined
  }

  /** The slot of a full bucket, for a new key; the shared slot if there is none. */
  claim(set: number, high: number, low: number, now: number): number {
    const first = set * PLACES
    for (let place = first; place < first + WAYS; place++) {
      if (this.fullAt[place]! > now) continue
      this.#tags[place * 2] = low
      this.#tags[place * 2 + 1] = high
      this.fullAt[place] = 0
      return place
    }
    return first + OVERFLOW
  }
}

/** Follows the hash key, which takes eight bytes. */
const classCountIn = (buckets: SharedBuckets) => new Int32Array(buckets, 8, 1)

function tablesIn(buckets: SharedBuckets): readonly SharedTable[] {
  const [classes] = classCountIn(buckets)
  const bytes = (buckets.byteLength - HEADER_BYTES) / classes!
  return Array.from({ length: classes! }, (_, index) => {
    return new SharedTable(buckets, HEADER_BYTES + index * bytes, bytes / SET_BYTES)
  })
}

const isOverflow = (place: number) => place % PLACES === OVERFLOW

/** Milliseconds on the only clock with the same zero in every thread. */
function machineTime(): number {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1e3 + nanoseconds / 1e6
}
