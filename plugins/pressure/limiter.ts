/** Decides how many requests may be under way at once. */
export interface ConcurrencyLimiter {
  readonly limit: number
  /** For each route one, because what is slow for one is usual for another. */
  meter(): LatencyMeter
}

export interface LatencyMeter {
  /**
   * Told of a request that was served.
   *
   * @param latency milliseconds from its start to its reply
   * @param alongside the most that were in flight when it started and when it ended, itself included
   * @param now milliseconds on any clock that only goes forward
   */
  took(latency: number, alongside: number, now: number): void
}

export interface GradientSettings {
  min: number
  max: number
  initial: number
  /** How many times its usual latency a request may take before there are too many. */
  tolerance: number
  /** How many wait in front of what most requests need. */
  backlog: () => number
}

/** The limit is thought over no more often than that, in milliseconds, and over no fewer requests. */
const WINDOW = 100
const ENOUGH = 10
/** How far a limit goes towards what one window asks for. */
const STEP = 0.4
/** The least that a limit keeps of itself in one window. */
const STEEPEST = 0.5
/** Without quiet for that long under load, in milliseconds, quiet is made to learn what is usual now. */
const RELEARN_AFTER = 15_000
/** Over so many requests, and for no longer than so many milliseconds. */
const LESSONS = 50
const LESSON_TIME = 300
/** The weight of one request in what is usual, and the most times the usual that it may count for. */
const WEIGHT = 0.1
const OUTLIER = 4

/**
 * Compares what requests take among many with what the same routes take among few, and moves the limit by the ratio: the
 * more latency has grown, the smaller it becomes; where latency has not grown, it rises by its square root.
 *
 * Up to `min` at once are few: theirs is the usual latency. Under a load that leaves no quiet, the limit is lowered to
 * `min` for a moment from time to time, so that a dependency that has become slower for good is not taken for a crowd.
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
        // A crowd that was there from the start has left no quiet moment in which to learn.
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
    // A line there means that too many are sent there, and that it will soon refuse them.
    const wanted = this.#limit * gradient + (backlog() > min / 2 ? -headroom : headroom)
    // A limit that is not reached has not been put to the test.
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

/** Of requests that say nothing about the load. */
export const unmetered: LatencyMeter = { took() {} }
