interface Waiter<T> {
  /** Whether others may have the same thing at the same time. */
  shares: boolean
  resolve(value: T): void
  reject(reason: unknown): void
  deadline: NodeJS.Timeout
}

/** Those who wait for something, in the order in which they came. */
export class WaitingLine<T> {
  readonly #waiters = new Set<Waiter<T>>()

  get length(): number {
    return this.#waiters.size
  }

  /** Whether the first in line takes nothing that it could not share. */
  get firstShares(): boolean {
    const [first] = this.#waiters
    return first?.shares === true
  }

  /** @param onTimeout makes the error of one who has waited too long */
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

  /** Gives `value` to the first in line; false when nobody waits. */
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
