import { hasToken, type Quota, type Verdict, verdict } from './gcra.ts'
import type { LocalStore } from './store.ts'

/** Milliseconds of a monotonic clock. */
export type Clock = () => number

/** How many old buckets are checked to make room for a new key, so that the cost does not grow with the table. */
const PROBES = 8
/** The bucket that new keys share while all others are in use. */
const OVERFLOW = 0

/**
 * Buckets in this process: one lookup and no allocation per known key.
 *
 * Memory is bounded and no debt is forgotten: only a full bucket, which is equivalent to none, is evicted for a new
 * key. If there is none, new keys share one bucket per class, so that a flood of addresses slows down other new clients
 * instead of growing the table or resetting a throttled client.
 */
export class MemoryStore implements LocalStore {
  readonly #tables = new Map<string, BucketTable>()
  readonly #maxKeys: number
  readonly now: Clock

  constructor(maxKeys: number, now: Clock = () => performance.now()) {
    this.#maxKeys = maxKeys
    this.now = now
  }

  take(rateClass: string, key: string, quota: Quota): Verdict {
    const table = this.#table(rateClass)
    const now = this.now()
    const slot = table.find(key) ?? table.claim(key, now)
    const debt = table.debt(slot, now)
    if (!hasToken(debt, quota)) return verdict(false, debt, quota)

    table.fullAt[slot] = now + debt + quota.interval
    return verdict(true, debt + quota.interval, quota)
  }

  refund(rateClass: string, key: string, quota: Quota): void {
    const table = this.#table(rateClass)
    const slot = table.find(key)
    if (slot !== undefined) table.fullAt[slot]! -= quota.interval
  }

  refusal(rateClass: string, key: string, quota: Quota): Verdict | undefined {
    const table = this.#table(rateClass)
    const slot = table.find(key)
    if (slot === undefined) return undefined
    const debt = table.debt(slot, this.now())
    return hasToken(debt, quota) ? undefined : verdict(false, debt, quota)
  }

  learn(rateClass: string, key: string, debt: number, at: number, taken = 0): number {
    const table = this.#table(rateClass)
    const slot = table.find(key) ?? table.claim(key, this.now())
    if (slot === OVERFLOW) return debt
    const known = Math.max(table.debt(slot, at) + taken, debt)
    table.fullAt[slot] = at + known
    return known
  }

  #table(rateClass: string): BucketTable {
    const known = this.#tables.get(rateClass)
    if (known !== undefined) return known
    const table = new BucketTable(this.#maxKeys)
    this.#tables.set(rateClass, table)
    return table
  }
}

/** Keys in slots, and for each slot the instant at which its bucket is full again. */
class BucketTable {
  fullAt = new Float64Array(64)
  readonly #slots = new Map<string, number>()
  readonly #keys: string[] = ['']
  readonly #maxKeys: number
  #hand = OVERFLOW

  constructor(maxKeys: number) {
    this.#maxKeys = maxKeys
  }

  find(key: string): number | undefined {
    return this.#slots.get(key)
  }

  debt(slot: number, now: number): number {
    return Math.max(0, this.fullAt[slot]! - now)
  }

  /** A slot for a new key: that of a full bucket if the clock hand finds one, else a fresh one, else the shared one. */
  claim(key: string, now: number): number {
    const used = this.#keys.length - 1
    for (let probes = Math.min(PROBES, used); probes > 0; probes--) {
      this.#hand = this.#hand === used ? 1 : this.#hand + 1
      if (this.fullAt[this.#hand]! > now) continue
      this.#slots.delete(this.#keys[this.#hand]!)
      return this.#assign(this.#hand, key)
    }
    return used < this.#maxKeys ? this.#assign(used + 1, key) : OVERFLOW
  }

  #assign(slot: number, key: string): number {
    if (slot === this.fullAt.length) this.#grow()
    this.#keys[slot] = key
    this.fullAt[slot] = 0
    this.#slots.set(key, slot)
    return slot
  }

  #grow(): void {
    const larger = new Float64Array(this.fullAt.length * 2)
    larger.set(this.fullAt)
    this.fullAt = larger
  }
}
