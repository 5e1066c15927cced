interface Waiter<T> {
  /** Whether the value may be shared with other waiters. */
  shares: boolean
  resolve(value: T): void
  reject(reason: unknown): void
  deadline: NodeJS.Timeout
}

/** A queue of waiters, served in order of arrival. */
export class WaitingLine<T> {
  readonly #waiters = new Set<Waiter<T>>()

  get length(): number {
    return this.#waiters.size
  }

  /** Whether the first waiter can share what it gets. */
  get firstShares(): boolean {
    const [first] = this.#waiters
    return first?.shares === true
  }

  /** @param onTimeout creates the error of a waiter that has waited too long */
  join(timeoutMs: number, onTimeout: () => Error, shares = false): Promise<T> {
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(() => {
        this.#waiters.delete(waiter)
        reject(onTimeout())
      }, timeoutMs)
      const waiter = { shares, resolve, reject, deadline }
      this.#waiters.add(waiter)
    })
  }

  /** Gives `value` to the first waiter; false if there is none. */
  serve(value: T): boolean {
    const [first] = this.#waiters
    if (first === undefined) return false
    this.#waiters.delete(first)
    clearTimeout(first.deadline)
    first.resolve(value)
    return true
  }

  dismiss(reason: Error): void {
    for (const { reject, deadline } of this.#waiters) {
      clearTimeout(deadline)
      reject(reason)
    }
    this.#waiters.clear()
  }
}
