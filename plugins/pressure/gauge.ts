/** A sample of the process's load. */
export interface PressureReading {
  /** Mean event-loop delay since the last reading, in milliseconds. */
  readonly eventLoopDelay: number
  /** Event-loop utilization since the last reading, 0 to 1. */
  readonly eventLoopUtilization: number
  /** In bytes. */
  readonly heapUsed: number
  /** In bytes. */
  readonly rss: number
}

export type PressureLevel = 0 | 1 | 2 | 3
export type PressureReason = 'event_loop' | 'heap' | 'rss'

/** The thresholds at which each level begins, ascending. */
export type Steps = readonly [number, number, number]

export interface PressureLimits {
  eventLoopDelay: Steps
  /** Below this utilization, delays are not caused by our own work and shedding would not help. */
  minUtilization: number
  heapUsed: Steps
  rss: Steps
  /** Number of consecutive readings that must ask for more before the severity rises. */
  riseAfter: number
  /** Milliseconds of pressure before it counts as sustained, and of calm before it no longer does. */
  sustainIn: number
  sustainOut: number
}

/** The fraction of the excess that one calmer reading removes; an excess smaller than this is zero. */
const FALL = 0.5
const NEGLIGIBLE = 0.1

/** Turns readings into a severity. It has no clock of its own, so the caller supplies the time. */
export class PressureGauge {
  /** 0 to 3, interpolated between two steps. */
  severity = 0
  reason: PressureReason = 'event_loop'
  sustained = false
  readonly #limits: PressureLimits
  /** The last readings, as the severity that each asks for. */
  #asked: number[] = []
  #changedAt = Number.NEGATIVE_INFINITY

  constructor(limits: PressureLimits) {
    this.#limits = limits
  }

  /** The highest step reached. */
  get level(): PressureLevel {
    return Math.floor(this.severity) as PressureLevel
  }

  /**
   * @returns the fraction of requests to refuse that are refused from a level on: none below the level before, all from
   * it
   */
  refusedFrom(level: number): number {
    return Math.max(0, Math.min(1, this.severity - level + 1))
  }

  /** @param now milliseconds on any monotonic clock */
  take(reading: PressureReading, now: number): void {
    const wasCalm = this.level === 0
    this.#moveTo(this.#wanted(reading))
    if (wasCalm !== (this.level === 0)) this.#changedAt = now

    const lasted = now - this.#changedAt
    if (this.level > 0 && lasted >= this.#limits.sustainIn) this.sustained = true
    if (this.level === 0 && lasted >= this.#limits.sustainOut) this.sustained = false
  }

  #moveTo({ severity, reason }: Wanted): void {
    const { riseAfter } = this.#limits
    this.#asked = [...this.#asked, severity].slice(-riseAfter)
    const lasting = this.#asked.length < riseAfter ? 0 : Math.min(...this.#asked)
    if (lasting > this.severity) {
      this.severity = lasting
      this.reason = reason
    } else if (severity < this.severity) {
      const left = this.severity - FALL * (this.severity - severity)
      this.severity = left < NEGLIGIBLE ? 0 : left
    }
  }

  #wanted(reading: PressureReading): Wanted {
    const limits = this.#limits
    const isBusy = reading.eventLoopUtilization >= limits.minUtilization
    const all: Wanted[] = [
      { reason: 'event_loop', severity: isBusy ? severityOf(reading.eventLoopDelay, limits.eventLoopDelay) : 0 },
      { reason: 'heap', severity: severityOf(reading.heapUsed, limits.heapUsed) },
      { reason: 'rss', severity: severityOf(reading.rss, limits.rss) }
    ]
    return all.reduce((worst, each) => (each.severity > worst.severity ? each : worst))
  }
}

interface Wanted {
  readonly severity: number
  readonly reason: PressureReason
}

/** Severity starts to rise at this fraction of the first step. */
const ONSET = 0.8

/** A value that is not a number neither raises nor sustains the severity. */
function severityOf(value: number, steps: Steps): number {
  if (!Number.isFinite(value)) return 0
  let below = steps[0] * ONSET
  for (const [level, step] of steps.entries()) {
    if (value < step) return level + Math.max(0, (value - below) / (step - below))
    below = step
  }
  return steps.length
}
