import { randomFillSync } from 'node:crypto'

const TRACE_BYTES = 16
const SPAN_BYTES = 8
/** Random bytes are fetched and written as digits in bulk, because each of these calls costs more than everything else. */
const POOL_BYTES = 4_096

/** Random ids as W3C Trace Context requires them: lower-case hexadecimal, never all zeros. */
export class TraceIds {
  readonly #pool = Buffer.alloc(POOL_BYTES)
  #digits = ''
  /** How many bytes are used up: a multiple of the length of a span's id. */
  #at = POOL_BYTES

  /** A new trace and its first span. */
  trace(): { traceId: string; spanId: string } {
    const at = this.#take(TRACE_BYTES + SPAN_BYTES)
    const middle = (at + TRACE_BYTES) * 2
    return { traceId: this.#digits.slice(at * 2, middle), spanId: this.#digits.slice(middle, middle + SPAN_BYTES * 2) }
  }

  span(): string {
    const at = this.#take(SPAN_BYTES)
    return this.#digits.slice(at * 2, (at + SPAN_BYTES) * 2)
  }

  /** A number from 0 to 1, for decisions. */
  fraction(): number {
    return this.#pool.readUInt32BE(this.#take(SPAN_BYTES) + 4) / 2 ** 32
  }

  /** @returns the position of as many unused bytes */
  #take(bytes: number): number {
    if (this.#at + bytes > POOL_BYTES) this.#refill()
    const at = this.#at
    this.#at += bytes
    return at
  }

  #refill(): void {
    randomFillSync(this.#pool)
    // No id is all zeros, at the price of one bit of each.
    for (let at = 0; at < POOL_BYTES; at += SPAN_BYTES) this.#pool[at]! |= 1
    this.#digits = this.#pool.toString('hex')
    this.#at = 0
  }
}
