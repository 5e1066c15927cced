import {
  type CircuitBreakerPolicy,
  CircuitState,
  ConsecutiveBreaker,
  circuitBreaker,
  handleWhen,
  type IBackoff
} from 'cockatiel'
import { RemoteError } from './error.ts'

export interface BreakerSettings {
  /** Number of consecutive failures that open the circuit. */
  readonly failures: number
  /** Milliseconds before one call may try the service again; doubles with each failed try. */
  readonly pause: number
}

const LONGEST_PAUSE = 60_000

/** Stops calling a failing service: callers fail immediately, and the service gets a chance to recover. */
export class Breaker {
  readonly #policy: CircuitBreakerPolicy

  /** @param onChange called with whether the circuit is open */
  constructor({ failures, pause }: BreakerSettings, onChange: (isOpen: boolean) => void) {
    this.#policy = circuitBreaker(
      handleWhen(error => this.#isFailure(error)),
      { breaker: new ConsecutiveBreaker(failures), halfOpenAfter: new Pause(pause) }
    )
    let isOpen = false
    this.#policy.onStateChange(state => {
      if (isOpen === (state !== CircuitState.Closed)) return
      isOpen = !isOpen
      onChange(isOpen)
    })
  }

  /** @throws whatever `work` throws, or the error of `refuse` if the circuit is open */
  async run<T>(work: () => Promise<T>, refuse: () => RemoteError): Promise<T> {
    // One call at a time retries the service; the others do not wait for its result.
    if (this.#policy.state === CircuitState.HalfOpen) throw refuse()
    let isAsked = false
    try {
      const answer = await this.#policy.execute(() => {
        isAsked = true
        return settle(work)
      })
      return answer()
    } catch (error) {
      throw isAsked ? error : refuse()
    }
  }

  /** A half-open try that its caller aborted proves nothing, so the circuit stays open. */
  #isFailure(error: unknown): boolean {
    return error instanceof RemoteError || this.#policy.state === CircuitState.HalfOpen
  }
}

/** How long the circuit stays open, by a monotonic clock: the library would compare wall clocks. */
class Pause implements IBackoff<unknown> {
  readonly #ms: number
  readonly #end: number

  constructor(ms: number, end = Number.POSITIVE_INFINITY) {
    this.#ms = ms
    this.#end = end
  }

  get duration(): number {
    return performance.now() < this.#end ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY
  }

  next(): Pause {
    const isFirst = this.#end === Number.POSITIVE_INFINITY
    const ms = isFirst ? this.#ms : Math.min(LONGEST_PAUSE, this.#ms * 2)
    return new Pause(ms, performance.now() + ms)
  }
}

/** Settles the work; a refusal by the service counts as a sign that it works. @throws RemoteError if it does not */
async function settle<T>(work: () => Promise<T>): Promise<() => T> {
  try {
    const value = await work()
    return () => value
  } catch (error) {
    if (!(error instanceof RemoteError) || error.isOutage) throw error
    return () => {
      throw error
    }
  }
}
