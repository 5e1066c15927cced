export interface TurnSettings {
  /** Milliseconds after which nothing more is started in a turn. */
  readonly budget: number
  /** Calls back when all that the system has reported has been handled. */
  afterTurn(callback: () => void): void
  /** Milliseconds on a clock that only goes forward. */
  clock(): number
  /** Told of the end of each turn in which something has been done: when it was, and how long the turn took. */
  onEnd(now: number, duration: number): void
}

/**
 * The turns of the event loop. In one turn Node handles everything that has arrived, and whatever arrives meanwhile waits
 * for all of it: probes too. So a turn has a budget of time, and what exceeds it starts in a later turn.
 */
export class Turns {
  readonly #settings: TurnSettings
  readonly #end = () => this.#onEnd()
  #startedAt = 0
  #isOpen = false

  constructor(settings: TurnSettings) {
    this.#settings = settings
  }

  /** To be called before something is done.
   *
   * @returns whether this is the first thing in its turn
   */
  open(now: number): boolean {
    if (this.#isOpen) return false
    this.#isOpen = true
    this.#startedAt = now
    this.#settings.afterTurn(this.#end)
    return true
  }

  /** Whether the turn has used its budget. */
  isSpent(now: number): boolean {
    return this.#isOpen && now - this.#startedAt >= this.#settings.budget
  }

  #onEnd(): void {
    this.#isOpen = false
    const now = this.#settings.clock()
    this.#settings.onEnd(now, now - this.#startedAt)
  }
}
