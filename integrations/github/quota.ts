import { LRUCache } from 'lru-cache'
import { RemoteError } from '../../plugins/lib/remote.ts'

const SUBJECTS = 10_000
/** Seconds to pause when GitHub does not say how long. */
const PAUSE = 60

interface Answer {
  readonly headers: Headers
}

/**
 * Stops calls for a subject that has exhausted GitHub's rate limit until it resets: GitHub might ban the App otherwise.
 */
export class Quota {
  /** When each subject may call again, by the clock of this process. */
  readonly #closed = new LRUCache<string, number>({ max: SUBJECTS })

  /** @param subject the unit of GitHub's rate limits: the App itself, or an installation */
  async run<T extends Answer>(subject: string, operation: string, work: () => Promise<T>): Promise<T> {
    const left = Math.ceil(((this.#closed.get(subject) ?? 0) - performance.now()) / 1_000)
    if (left > 0) throw usedUp(operation, left)
    try {
      const answer = await work()
      if (answer.headers.get('x-ratelimit-remaining') === '0') this.#close(subject, untilReset(answer.headers))
      return answer
    } catch (error) {
      if (isLimit(error)) this.#close(subject, error.retryAfter!)
      throw error
    }
  }

  #close(subject: string, seconds: number): void {
    this.#closed.set(subject, performance.now() + seconds * 1_000)
  }
}

/** Seconds until GitHub accepts calls again, if it refused this one because of a rate limit. */
export function pauseOf(status: number, headers: Headers): number | undefined {
  if (headers.has('retry-after') || (status !== 403 && status !== 429)) return undefined
  if (headers.get('x-ratelimit-remaining') === '0') return untilReset(headers)
  return status === 429 ? PAUSE : undefined
}

function isLimit(error: unknown): error is RemoteError {
  if (!(error instanceof RemoteError) || error.retryAfter === undefined) return false
  return error.status === 403 || error.status === 429
}

function usedUp(operation: string, retryAfter: number): RemoteError {
  const detail = 'not called, because its rate limit is exhausted'
  return new RemoteError({ service: 'github', operation, kind: 'refused', retryAfter, detail })
}

/** Uses only GitHub's clock, since ours may differ. */
function untilReset(headers: Headers): number {
  const reset = Number(headers.get('x-ratelimit-reset'))
  const now = Date.parse(headers.get('date') ?? '') / 1_000
  const seconds = Math.ceil(reset - now)
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds, 3_600) : PAUSE
}
