import { randomFillSync } from 'node:crypto'

const TRACE_BYTES = 16
const SPAN_BYTES = 8
/** Random bytes are fetched in bulk, because each system call costs more than everything else here. */
const POOL_BYTES = 4_096

/** Random ids as W3C Trace Context requires them: lower-case hexadecimal, never all zeros. */
export class TraceIds {
  readonly #pool = Buffer.alloc(POOL_BYTES)
  #at = POOL_BYTES

  trace(): string {
    return this.#hex(TRACE_BYTES)
  }

  span(): string {
    return this.#hex(SPAN_BYTES)
  }

  /** A number from 0 to 1, for decisions. */
  fraction(): number {
    return this.#take(4).readUInt32BE(this.#at - 4) / 2 ** 32
  }

  #hex(bytes: number): string {
    const pool = this.#take(bytes)
    if (pool[this.#at - 1] === 0) pool[this.#at - 1] = 1 // never all zeros, at the price of a few bits
    return pool.hexSlice(this.#at - bytes, this.#at)
  }

  #take(bytes: number): Buffer & { hexSlice(start: number, end: number): string } {
    if (this.#at + bytes > POOL_BYTES) {
      randomFillSync(this.#pool)
      this.#at = 0
    }
    this.#at += bytes
    return this.#pool as Buffer & { hexSlice(start: number, end: number): string }
  }
}
