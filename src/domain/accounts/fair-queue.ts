import { errors } from '../../../plugins/lib/errors.ts'

export interface FairQueueSettings {
  /** Maximum number of running tasks. */
  readonly atOnce: number
  /** Maximum number of waiting tasks, over all callers. */
  readonly mostWaiting: number
  /** Seconds after which a refused caller may retry. */
  readonly retryAfter: number
}

interface Waiting {
  readonly start: () => void
  readonly turnAway: () => void
}

/**
 * Limits how much work runs at once. Callers take turns, so that one with many requests delays only its own. When too
 * many wait, the newest request of the caller with the longest line is refused.
 */
export class FairQueue {
  readonly #settings: FairQueueSettings
  /** By caller, in order of their turns. */
  readonly #lines = new Map<string, Waiting[]>()
  #waiting = 0
  #running = 0

  constructor(settings: FairQueueSettings) {
    this.#settings = settings
  }

  /** @throws AppError when too many wait */
  async run<Result>(caller: string, work: () => Promise<Result>): Promise<Result> {
    if (this.#running < this.#settings.atOnce) this.#running += 1
    else await this.#turnOf(caller)
    try {
      return await work()
    } finally {
      this.#startNext()
    }
  }

  #turnOf(caller: string): Promise<void> {
    if (this.#waiting >= this.#settings.mostWaiting) this.#makeRoomFor(caller)
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const line = this.#lines.get(caller) ?? []
    line.push({ start: resolve, turnAway: () => reject(this.#tooMany()) })
    this.#lines.set(caller, line)
    this.#waiting += 1
    return promise
  }

  #makeRoomFor(caller: string): void {
    const [longest, line] = [...this.#lines].reduce((a, b) => (b[1].length > a[1].length ? b : a))
    if (line.length <= (this.#lines.get(caller)?.length ?? 0) + 1) throw this.#tooMany()
    line.pop()!.turnAway()
    if (line.length === 0) this.#lines.delete(longest)
    this.#waiting -= 1
  }

  #startNext(): void {
    const [next] = this.#lines
    if (next === undefined) {
      this.#running -= 1
      return
    }
    const [caller, line] = next
    this.#lines.delete(caller)
    const { start } = line.shift()!
    if (line.length > 0) this.#lines.set(caller, line)
    this.#waiting -= 1
    start()
  }

  #tooMany() {
    return errors.unavailable(this.#settings.retryAfter, 'Too many people are signing in right now')
  }
}
