export interface WorkLimitSettings {
  /** The least that the limit may be: the budget of a turn, in milliseconds. */
  readonly min: number
  readonly max: number
}

/** The limit is reconsidered no more often than that, in milliseconds. */
const WINDOW = 50
/** A window that lasts longer was one of rest. */
const REST = 1_000
/** Turns should be no longer than so many budgets. */
const TOLERANCE = 1.5
/** The loop should be idle for no more than this part of the time while requests wait. */
const IDLE = 0.05
/** The most by which one window may change the limit. */
const STEEPEST = 0.5
const STEEPEST_RISE = 1.5

/**
 * How much CPU may be in flight. Requests that wait for something and compute afterwards do so in whichever turns their
 * answers arrive in; the sum of what they are going to compute bounds these turns, as a budget bounds what is started.
 *
 * The limit falls while turns are too long, and rises while the loop is idle though requests wait for the limit: those in
 * flight wait for something else for so long that more of them are needed to keep the loop busy.
 */
export class WorkLimit {
  limit: number
  readonly #settings: WorkLimitSettings
  #isReached = false
  #windowStart = 0
  #idleAtStart = 0
  #time = 0
  #timeSquared = 0

  constructor(settings: WorkLimitSettings) {
    this.#settings = settings
    this.limit = 2 * settings.min
  }

  /** A request has to wait because of the limit. */
  reached(): void {
    this.#isReached = true
  }

  /**
   * Learns of the end of a turn.
   *
   * @param now milliseconds on a clock that only goes forward
   * @param duration of the turn, in milliseconds
   * @param idled milliseconds for which the loop has been idle since it began
   */
  turned(now: number, duration: number, idled: number): void {
    this.#time += duration
    this.#timeSquared += duration * duration
    const elapsed = now - this.#windowStart
    if (elapsed < WINDOW) return
    if (elapsed < REST) this.#adapt(this.#timeSquared / this.#time, (idled - this.#idleAtStart) / elapsed)
    this.#windowStart = now
    this.#idleAtStart = idled
    this.#time = this.#timeSquared = 0
    this.#isReached = false
  }

  /** @param turn the turn that an event finds on average: long ones are met by more events than short ones */
  #adapt(turn: number, idle: number): void {
    const { min, max } = this.#settings
    const longest = TOLERANCE * min
    if (turn > longest) this.limit = Math.max(min, this.limit * Math.max(STEEPEST, longest / turn))
    else if (this.#isReached && idle > IDLE)
      this.limit = Math.min(max, this.limit * Math.min(STEEPEST_RISE, 1 / (1 - idle)))
  }
}
