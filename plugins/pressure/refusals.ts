import { LinkedQueue, type QueueEntry } from '../lib/linked-queue.ts'

/** A delayed refusal. */
export interface Refusal extends QueueEntry {
  readonly since: number
  send(): void
}

export interface RefusalSettings {
  /** Milliseconds for which a refusal is delayed, and the maximum after which it is sent regardless of the cost. */
  delay: number
  longest: number
  /** Maximum number of delayed refusals. */
  max: number
  /** Monotonic clock, in milliseconds. */
  clock: () => number
  /** Idle time of the process in milliseconds, on the same clock. */
  idled: () => number
}

/** The fraction of all time that refusals may use, in addition to idle time. */
const PART = 0.12
const IDLE_PART = 0.3
/** Unused time accumulates up to this many milliseconds. */
const SAVINGS = 4
/** Cost of sending a refusal; the client's next request costs the same on arrival. */
const COST = 3
/** The clock is read after this many refusals. */
const BATCH = 4

/**
 * Delays refusals briefly. A client that is refused at once asks again at once, and a crowd of such clients would take
 * all available time: a thousand of them, delayed by 40 ms each time, make at most 25,000 requests a second. If even
 * that is too much, the delay grows, so that served clients do not pay for refused ones.
 */
export class Refusals {
  readonly #line = new LinkedQueue<Refusal>()
  readonly #settings: RefusalSettings
  #savings = 0
  #at = 0
  #idled = 0

  constructor(settings: RefusalSettings) {
    this.#settings = settings
  }

  get length(): number {
    return this.#line.length
  }

  /** Whether there is room for another; otherwise a refusal has to go out at once. */
  get hasRoom(): boolean {
    return this.#settings.delay > 0 && this.#line.length < this.#settings.max
  }

  keep(refusal: Refusal): void {
    this.#line.push(refusal)
  }

  /** Call every few milliseconds while any refusals are delayed. */
  release(): void {
    const { clock, delay, longest } = this.#settings
    let now = clock()
    this.#save(now)
    for (let first = this.#line.first; first !== null; first = this.#line.first) {
      const age = now - first.since
      if (age < delay || (this.#savings <= 0 && age < longest)) return
      for (let count = 0; count < BATCH && first !== null && now - first.since >= delay; count++) {
        this.#line.remove(first)
        first.send()
        first = this.#line.first
      }
      const spent = clock() - now
      now += spent
      this.#savings -= spent * COST
    }
  }

  #save(now: number): void {
    const idled = this.#settings.idled()
    const gain = (now - this.#at) * PART + (idled - this.#idled) * IDLE_PART
    this.#savings = Math.min(SAVINGS, this.#savings + gain)
    this.#at = now
    this.#idled = idled
  }
}
