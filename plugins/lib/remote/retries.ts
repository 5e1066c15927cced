import { RemoteError } from './error.ts'

export interface RetrySettings {
  /** How often a call is repeated at most. */
  readonly retries: number
  /** Milliseconds of the first pause at most; it doubles with each. */
  readonly backoff: number
}

/** Statuses of a service that may well answer the next time. */
const PASSING: ReadonlySet<number | undefined> = new Set([429, 502, 503, 504])
const LONGEST_BACKOFF = 5_000

/** Retries that may be made in a row, after a time without any failure. */
const RESERVE = 10
/** What every call adds to that. */
const SHARE = 0.1

/**
 * How many retries a service gets: one in ten calls, in the long run. While all is well nobody notices; in an outage the
 * retries of everybody together would keep the service down.
 */
export class RetryBudget {
  #left = RESERVE

  /** A call begins. */
  earn(): void {
    this.#left = Math.min(RESERVE, this.#left + SHARE)
  }

  /** @returns whether one more retry is allowed */
  spend(): boolean {
    if (this.#left < 1) return false
    this.#left -= 1
    return true
  }
}

/**
 * Milliseconds to wait before a failed call is repeated; null if it must not be.
 *
 * @param attempt how many have been made
 * @param left    milliseconds until the call as a whole has to be over
 */
export function pauseBefore(
  error: unknown,
  attempt: number,
  left: number,
  { retries, backoff }: RetrySettings
): number | null {
  if (attempt > retries || !(error instanceof RemoteError) || !mayPass(error)) return null
  // Anywhere below the ceiling: whoever has failed together shall not come back together.
  const jitter = Math.random() * Math.min(LONGEST_BACKOFF, backoff * 2 ** (attempt - 1))
  const pause = (error.retryAfter ?? 0) * 1_000 + jitter
  return pause < left ? pause : null
}

function mayPass({ kind, status }: RemoteError): boolean {
  return kind === 'timeout' || kind === 'network' || (kind === 'status' && PASSING.has(status))
}

/** Seconds, from a `Retry-After` that gives those or a date; undefined if there is none, or nonsense. */
export function retryAfterOf(headers: Headers): number | undefined {
  const value = headers.get('retry-after')
  if (value === null) return undefined
  if (/^\d{1,9}$/.test(value.trim())) return Number(value)
  const date = Date.parse(value)
  return Number.isNaN(date) ? undefined : Math.max(0, Math.ceil((date - Date.now()) / 1_000))
}
