import type { DropReason } from '../lib/telemetry-drops.ts'

const MINUTE = 60_000

interface Sent {
  readonly at: number
  /** Equal errors since. */
  repeats: number
}

/** What happens to an error: it is sent, with the number of equal ones held back, or it is dropped. */
export type Verdict = { readonly repeats: number } | { readonly dropped: DropReason<'errors'> }

/**
 * Limits the errors that are sent: one per kind and minute, and a maximum for all kinds. Uses a monotonic clock.
 */
export class ErrorThrottle {
  readonly #perMinute: number
  readonly #sent = new Map<string, Sent>()
  #minute = Number.NEGATIVE_INFINITY
  #left = 0

  constructor(perMinute: number) {
    this.#perMinute = perMinute
  }

  judge(fingerprint: string, now = performance.now()): Verdict {
    if (now - this.#minute >= MINUTE) this.#turn(now)
    const last = this.#sent.get(fingerprint)
    if (last !== undefined && now - last.at < MINUTE) {
      last.repeats++
      return { dropped: 'repeated' }
    }
    if (this.#left <= 0) return { dropped: 'budget' }
    this.#left--
    this.#sent.set(fingerprint, { at: now, repeats: 0 })
    return { repeats: last?.repeats ?? 0 }
  }

  /** Kinds that were quiet for a minute are forgotten, so no more are remembered than two minutes allow. */
  #turn(now: number): void {
    this.#minute = now
    this.#left = this.#perMinute
    for (const [fingerprint, { at }] of this.#sent) if (now - at >= 2 * MINUTE) this.#sent.delete(fingerprint)
  }
}
