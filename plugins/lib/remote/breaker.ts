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
  /** How many failures of the service in a row open the circuit. */
  readonly failures: number
  /** Milliseconds before one call may try the service again; twice as long each time that fails. */
  readonly pause: number
}

const LONGEST_PAUSE = 60_000

/** Stops asking a service that only fails: those who wait for it are told at once, and it has a chance to recover. */
export class Breaker {
  readonly #policy: CircuitBreakerPolicy

  /** @param onChange is told whether the service is being left alone */
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

  /** @throws whatever `work` throws; before that, whatever `refuse` makes, if the service is left alone */
  async run<T>(work: () => Promise<T>, refuse: () => RemoteError): Promise<T> {
    // One call at a time tries the service again; the others do not wait for what comes of it.
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

  /** A try that its caller has called off shows nothing, so that the service is left alone for longer. */
  #isFailure(error: unknown): boolean {
    return error instanceof RemoteError || this.#policy.state === CircuitState.HalfOpen
  }
}

/** The time that an open circuit stays so, by a clock that never jumps: the library would compare wall clocks. */
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

/** What work comes to; that the service has refused something shows that it works. @throws RemoteError when it does not */
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
