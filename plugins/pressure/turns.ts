export interface TurnSettings {
  /** Time budget in milliseconds; once it is used up, nothing more starts in that turn. */
  readonly budget: number
  /** Calls back once all pending system events have been handled. */
  afterTurn(callback: () => void): void
  /** Monotonic clock, in milliseconds. */
  clock(): number
  /** Called at the end of each turn with work in it, with the time and the turn's duration. */
  onEnd(now: number, duration: number): void
}

/**
 * The turns of the event loop. In one turn Node handles everything that has arrived, and anything that arrives
 * meanwhile, probes included, waits for all of it. A turn therefore has a time budget, and work beyond it starts in a
 * later turn.
 */
export class AdmissionTurns {
  readonly #settings: TurnSettings
  readonly #end = () => this.#onEnd()
  #startedAt = 0
  #isOpen = false

  constructor(settings: TurnSettings) {
    this.#settings = settings
  }

  /**
   * Call before work is done.
   *
   * @returns whether this is the first work in its turn
   */
  open(now: number): boolean {
    if (this.#isOpen) return false
    this.#isOpen = true
    this.#startedAt = now
    this.#settings.afterTurn(this.#end)
    return true
  }

  /** Whether the turn has used up its budget. */
  isSpent(now: number): boolean {
    return this.#isOpen && now - this.#startedAt >= this.#settings.budget
  }

  #onEnd(): void {
    this.#isOpen = false
    const now = this.#settings.clock()
    this.#settings.onEnd(now, now - this.#startedAt)
  }
}
