import { LinkedQueue, QueueEntry } from '../lib/linked-queue.ts'

class Waiter<T> extends QueueEntry {
  /** Whether the value may be shared with other waiters. */
  readonly shares: boolean
  /** As `performance.now()`. */
  readonly deadline: number
  readonly resolve: (value: T) => void
  readonly reject: (reason: unknown) => void

  constructor(shares: boolean, deadline: number, resolve: (value: T) => void, reject: (reason: unknown) => void) {
    super()
    this.shares = shares
    this.deadline = deadline
    this.resolve = resolve
    this.reject = reject
  }
}

/**
 * A queue of waiters, served in order of arrival. All wait equally long, so one timer, for the first, is enough: a
 * connection that does not come keeps hundreds of waiters.
 */
export class WaitingLine<T> {
  readonly #timeout: number
  readonly #onTimeout: () => Error
  readonly #waiters = new LinkedQueue<Waiter<T>>()
  #timer: NodeJS.Timeout | undefined

  /**
   * @param timeout milliseconds
   * @param onTimeout creates the error of a waiter that has waited too long
   */
  constructor(timeout: number, onTimeout: () => Error) {
    this.#timeout = timeout
    this.#onTimeout = onTimeout
  }

  get length(): number {
    return this.#waiters.length
  }

  /** Whether the first waiter can share what it gets. */
  get firstShares(): boolean {
    return this.#waiters.first?.shares === true
  }

  join(shares = false): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#waiters.push(new Waiter(shares, performance.now() + this.#timeout, resolve, reject))
      if (this.#timer === undefined) this.#expireAfter(this.#timeout)
    })
  }

  /** Gives `value` to the first waiter; false if there is none. */
  serve(value: T): boolean {
    const { first } = this.#waiters
    if (first === null) return false
    this.#waiters.remove(first)
    first.resolve(value)
    return true
  }

  dismiss(reason: unknown): void {
    for (let { first } = this.#waiters; first !== null; { first } = this.#waiters) {
      this.#waiters.remove(first)
      first.reject(reason)
    }
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #expireAfter(milliseconds: number): void {
    this.#timer = setTimeout(() => this.#expire(), Math.ceil(milliseconds))
  }

  #expire(): void {
    this.#timer = undefined
    const now = performance.now()
    let { first } = this.#waiters
    for (; first !== null && first.deadline <= now; { first } = this.#waiters) {
      this.#waiters.remove(first)
      first.reject(this.#onTimeout())
    }
    if (first !== null) this.#expireAfter(first.deadline - now)
  }
}
