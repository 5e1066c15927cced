import { LinkedQueue, type QueueEntry } from './linked-queue.ts'

/** A refusal that is kept back. */
export interface Refusal extends QueueEntry {
  readonly since: number
  send(): void
}

export interface RefusalSettings {
  /** Milliseconds for which a refusal is kept back, and after which it goes out whatever it costs. */
  delay: number
  longest: number
  /** How many are kept at once. */
  max: number
  /** Milliseconds on a clock that only goes forward. */
  clock: () => number
  /** Milliseconds that the process has been idle, on the same clock. */
  idled: () => number
}

/** The part of all time that refusals may take, beside that of the time in which there is nothing to do. */
const PART = 0.12
const IDLE_PART = 0.3
/** Time that has not been used is saved up to that, in milliseconds. */
const SAVINGS = 4
/** A refusal that goes out costs that, and its successor costs the same when it comes in. */
const COST = 3
/** The clock is read after so many. */
const BATCH = 4

/**
 * Holds refusals back for a moment. A client that is refused at once asks again at once, and a crowd of such clients would take all
 * the time there is: a thousand of them, kept back for 40 ms each time, cannot ask more than 25,000 times a second. Where
 * even that is too much, they are kept back longer, so that those who are served do not pay for those who are not.
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

  /** Without it, a refusal has to go out at once. */
  get hasRoom(): boolean {
    return this.#settings.delay > 0 && this.#line.length < this.#settings.max
  }

  keep(refusal: Refusal): void {
    this.#line.push(refusal)
  }

  /** To be called every few milliseconds while there are any. */
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
