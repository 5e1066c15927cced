/** Decides how many requests may run at once. */
export interface ConcurrencyLimiter {
  readonly limit: number
  /** One per route, because latency that is slow for one route is normal for another. */
  meter(): LatencyMeter
}

export interface LatencyMeter {
  /**
   * Reports a served request.
   *
   * @param latency milliseconds from its start to its reply
   * @param alongside the larger of the in-flight counts at its start and at its end, itself included
   * @param now milliseconds on any monotonic clock
   */
  took(latency: number, alongside: number, now: number): void
}

export interface GradientSettings {
  min: number
  max: number
  initial: number
  /** Tolerated latency as a multiple of the usual; above it there are too many requests. */
  tolerance: number
  /** Queue length at the resource that most requests need. */
  backlog: () => number
}

/** The limit is recomputed at most this often, in milliseconds, and over at least this many requests. */
const WINDOW = 100
const ENOUGH = 10
/** How far a limit moves towards what one window asks for. */
const STEP = 0.4
/** The minimum fraction of itself that a limit keeps in one window. */
const STEEPEST = 0.5
/** After this many milliseconds of load without a quiet moment, one is forced in order to relearn the usual latency. */
const RELEARN_AFTER = 15_000
/** The number of requests in a forced quiet period, and its maximum duration in milliseconds. */
const LESSONS = 50
const LESSON_TIME = 300
/** The weight of one request in the usual latency, and the cap on its contribution as a multiple of the usual. */
const WEIGHT = 0.1
const OUTLIER = 4

/**
 * Compares latency under concurrency with the latency of the same routes at low concurrency, and moves the limit by the
 * ratio: the more latency has grown, the lower the limit; if latency has not grown, it rises by its square root.
 *
 * Up to `min` concurrent requests count as low concurrency and define the usual latency. Under a load without quiet
 * moments, the limit is briefly lowered to `min` from time to time, so that a dependency that has become permanently
 * slower is not mistaken for a crowd.
 */
export class GradientLimiter implements ConcurrencyLimiter {
  readonly #settings: GradientSettings
  #limit: number
  #slowness = 0
  #count = 0
  #busiest = 0
  #windowEnd = Number.NEGATIVE_INFINITY
  #learned = 0
  #relearnAt = Number.NEGATIVE_INFINITY
  #isLearning = false
  #learningEnd = 0

  constructor(settings: GradientSettings) {
    this.#settings = settings
    this.#limit = settings.initial
  }

  get limit(): number {
    return this.#isLearning ? this.#settings.min : this.#limit
  }

  meter(): LatencyMeter {
    let usual = 0
    return {
      took: (latency, alongside, now) => {
        const isQuiet = alongside <= this.#settings.min
        if (isQuiet) {
          usual = usual === 0 ? latency : usual + WEIGHT * (Math.min(latency, usual * OUTLIER) - usual)
          this.#learn(now)
        }
        const isFull = alongside > this.#limit - 1
        if (usual > 0 && (isFull || !isQuiet)) this.#compare(latency / usual, alongside, now)
        // A crowd present from the start has left no quiet moment to learn from.
        else if (usual === 0 && now >= this.#relearnAt) this.#lower(now)
      }
    }
  }

  #learn(now: number): void {
    if (++this.#learned < LESSONS) return
    this.#learned = 0
    this.#isLearning = false
    this.#relearnAt = now + RELEARN_AFTER
  }

  #compare(slowness: number, alongside: number, now: number): void {
    if (this.#isLearning) {
      if (now >= this.#learningEnd) this.#isLearning = false
      return
    }
    this.#slowness += Math.min(slowness, OUTLIER * this.#settings.tolerance)
    this.#count++
    if (alongside > this.#busiest) this.#busiest = alongside
    if (now < this.#windowEnd || this.#count < ENOUGH) return

    this.#limit = this.#next(this.#slowness / this.#count)
    this.#slowness = this.#count = this.#busiest = 0
    this.#windowEnd = now + WINDOW
    if (now >= this.#relearnAt && this.#limit > this.#settings.min) this.#lower(now)
  }

  #next(slowness: number): number {
    const { min, max, tolerance, backlog } = this.#settings
    const gradient = Math.max(STEEPEST, Math.min(1, tolerance / slowness))
    const headroom = Math.sqrt(this.#limit)
    // A queue there means that it receives too many requests and will soon refuse them.
    const wanted = this.#limit * gradient + (backlog() > min / 2 ? -headroom : headroom)
    // A limit that was not reached has not been tested.
    if (wanted > this.#limit && this.#busiest < this.#limit / 2) return this.#limit
    return Math.max(min, Math.min(max, this.#limit + (wanted - this.#limit) * STEP))
  }

  #lower(now: number): void {
    this.#relearnAt = now + RELEARN_AFTER
    this.#isLearning = true
    this.#learned = 0
    this.#learningEnd = now + LESSON_TIME
  }
}

/** The meter of requests that say nothing about the load. */
export const unmetered: LatencyMeter = { took() {} }
