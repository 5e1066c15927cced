/** A rate limit per second, on a monotonic clock; unused allowance expires. */
export class Budget {
  readonly #perSecond: number
  #second = Number.NEGATIVE_INFINITY
  #left = 0

  constructor(perSecond: number) {
    this.#perSecond = perSecond
  }

  /** @returns whether one more is allowed now */
  take(): boolean {
    const now = performance.now()
    if (now - this.#second >= 1_000) {
      this.#second = now
      this.#left = this.#perSecond
    }
    if (this.#left <= 0) return false
    this.#left--
    return true
  }
}
