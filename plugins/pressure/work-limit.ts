export interface WorkLimitSettings {
  /** The lower bound of the limit: the budget of a turn, in milliseconds. */
  readonly min: number
  readonly max: number
}

/** The limit is recomputed at most this often, in milliseconds. */
const WINDOW = 50
/** A window longer than this fell into a quiet period and is discarded. */
const REST = 1_000
/** Maximum length of a turn, in budgets. */
const TOLERANCE = 1.5
/** Maximum fraction of the time that the loop may be idle while requests wait. */
const IDLE = 0.05
/** The maximum factor by which one window may change the limit. */
const STEEPEST = 0.5
const STEEPEST_RISE = 1.5

/**
 * Limits the CPU in flight. Requests that wait for something and compute afterwards do so in whichever turns their
 * answers arrive; the total of their pending computation bounds those turns, just as a budget bounds what is started.
 *
 * The limit falls while turns are too long, and rises while the loop is idle although requests wait for the limit: the
 * requests in flight then wait so long for other things that more are needed to keep the loop busy.
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
   * Records the end of a turn.
   *
   * @param now milliseconds on a monotonic clock
   * @param duration of the turn, in milliseconds
   * @param idled idle milliseconds of the loop since it began
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

  /** @param turn the turn that an event meets on average: long turns are met by more events than short ones */
  #adapt(turn: number, idle: number): void {
    const { min, max } = this.#settings
    const longest = TOLERANCE * min
    if (turn > longest) this.limit = Math.max(min, this.limit * Math.max(STEEPEST, longest / turn))
    else if (this.#isReached && idle > IDLE)
      this.limit = Math.min(max, this.limit * Math.min(STEEPEST_RISE, 1 / (1 - idle)))
  }
}
