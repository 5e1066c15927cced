/** Window of rates and averages, in seconds. */
const WINDOW = 60

interface Second {
  at: number
  requests: number
  failures: number
  latency: number
  bytesIn: number
  bytesOut: number
}

const empty = (at: number): Second => ({ at, requests: 0, failures: 0, latency: 0, bytesIn: 0, bytesOut: 0 })

/** Counts an app's requests across its releases. */
export class Meter {
  readonly #seconds: Second[] = Array.from({ length: WINDOW }, () => empty(-1))
  readonly #now: () => number
  readonly #since: number
  #total = 0

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
    this.#since = now()
  }

  /** @param latency milliseconds until the reply began */
  count(status: number, latency: number): void {
    const second = this.#second()
    this.#total += 1
    second.requests += 1
    second.latency += latency
    if (status >= 500) second.failures += 1
  }

  countBytes(received: number, sent: number): void {
    const second = this.#second()
    second.bytesIn += received
    second.bytesOut += sent
  }

  read() {
    const now = Math.floor(this.#now() / 1_000)
    const sum = empty(now)
    for (const second of this.#seconds) {
      if (second.at <= now - WINDOW) continue
      for (const key of ['requests', 'failures', 'latency', 'bytesIn', 'bytesOut'] as const) sum[key] += second[key]
    }
    const span = Math.min(Math.max((this.#now() - this.#since) / 1_000, 1), WINDOW)
    return {
      network: { bytesInPerSec: sum.bytesIn / span, bytesOutPerSec: sum.bytesOut / span },
      requests: {
        total: this.#total,
        perSec: sum.requests / span,
        avgLatencyMs: sum.requests === 0 ? 0 : sum.latency / sum.requests,
        errorRate: sum.requests === 0 ? 0 : sum.failures / sum.requests
      }
    }
  }

  #second(): Second {
    const at = Math.floor(this.#now() / 1_000)
    const index = at % WINDOW
    if (this.#seconds[index]!.at !== at) this.#seconds[index] = empty(at)
    return this.#seconds[index]!
  }
}
