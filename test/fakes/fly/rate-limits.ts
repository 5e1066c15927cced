/** One call per second, kind and resource, with bursts of three; for reading a machine, five and ten. */
export class RateLimits {
  readonly #second: number
  readonly #buckets = new Map<string, { tokens: number; at: number }>()

  /** @param second milliseconds of a simulated second */
  constructor(second: number) {
    this.#second = second
  }

  allows(operation: string, id: string): boolean {
    if (!operation.startsWith('machines.')) return true
    const [rate, burst] = operation === 'machines.get' ? [5, 10] : [1, 3]
    const now = Date.now()
    const key = `${operation} ${id}`
    const { tokens, at } = this.#buckets.get(key) ?? { tokens: burst, at: now }
    const filled = Math.min(burst, tokens + ((now - at) / this.#second) * rate)
    this.#buckets.set(key, { tokens: filled < 1 ? filled : filled - 1, at: now })
    return filled >= 1
  }
}
