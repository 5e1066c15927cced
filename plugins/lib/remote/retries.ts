import { RemoteError } from './error.ts'

export interface RetrySettings {
  /** Maximum number of retries per call. */
  readonly retries: number
  /** Maximum first pause in milliseconds; doubles with each retry. */
  readonly backoff: number
}

/** Statuses after which a retry may succeed. */
const PASSING: ReadonlySet<number | undefined> = new Set([429, 502, 503, 504])
const LONGEST_BACKOFF = 5_000

/** Maximum retries in a row after a period without failures. */
const RESERVE = 10
/** Retries that each call adds to the budget. */
const SHARE = 0.1

/**
 * Limits a service's retries to one in ten calls in the long run. The limit has no effect in normal operation; in an
 * outage, unlimited retries of all clients together would keep the service down.
 */
export class RetryBudget {
  #left = RESERVE

  /** Credits the budget when a call starts. */
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
 * Milliseconds to wait before retrying a failed call; null if it must not be retried.
 *
 * @param attempt number of attempts made
 * @param left    milliseconds until the call's overall deadline
 */
export function pauseBefore(
  error: unknown,
  attempt: number,
  left: number,
  { retries, backoff }: RetrySettings
): number | null {
  if (attempt > retries || !(error instanceof RemoteError) || !mayPass(error)) return null
  // Full jitter, so that calls that failed together do not retry together.
  const jitter = Math.random() * Math.min(LONGEST_BACKOFF, backoff * 2 ** (attempt - 1))
  const pause = (error.retryAfter ?? 0) * 1_000 + jitter
  return pause < left ? pause : null
}

function mayPass({ kind, status }: RemoteError): boolean {
  return kind === 'timeout' || kind === 'network' || (kind === 'status' && PASSING.has(status))
}

/** Seconds from a `Retry-After` header in either form, seconds or date; undefined if missing or invalid. */
export function retryAfterOf(headers: Headers): number | undefined {
  const value = headers.get('retry-after')
  if (value === null) return undefined
  if (/^\d{1,9}$/.test(value.trim())) return Number(value)
  const date = Date.parse(value)
  return Number.isNaN(date) ? undefined : Math.max(0, Math.ceil((date - Date.now()) / 1_000))
}
