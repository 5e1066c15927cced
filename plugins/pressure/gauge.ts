/** What a look at the process says about its load. */
export interface PressureReading {
  /** Mean lateness of the event loop since the last reading, in milliseconds. */
  readonly eventLoopDelay: number
  /** Share of the time in which the event loop was busy, 0 to 1, since the last reading. */
  readonly eventLoopUtilization: number
  /** In bytes. */
  readonly heapUsed: number
  /** In bytes. */
  readonly rss: number
}

export type PressureLevel = 0 | 1 | 2 | 3
export type PressureReason = 'event_loop' | 'heap' | 'rss'

/** From which value on each level holds, ascending. */
export type Steps = readonly [number, number, number]

export interface PressureLimits {
  eventLoopDelay: Steps
  /** A loop that is less busy than this is late by no fault of ours, and shedding would not help. */
  minUtilization: number
  heapUsed: Steps
  rss: Steps
  /** How many readings in a row must ask for more before the severity rises. */
  riseAfter: number
  /** In milliseconds: for how long there is pressure before it is sustained, and calm before it no longer is. */
  sustainIn: number
  sustainOut: number
}

/** The part of the excess that one calmer reading takes away; less than that much is none. */
const FALL = 0.5
const NEGLIGIBLE = 0.1

/** Readings in, severity out. It keeps no time of its own, so that it can be told any. */
export class PressureGauge {
  /** 0 to 3: between two steps in proportion. */
  severity = 0
  reason: PressureReason = 'event_loop'
  sustained = false
  readonly #limits: PressureLimits
  /** The last readings, as what they ask for. */
  #asked: number[] = []
  #changedAt = Number.NEGATIVE_INFINITY

  constructor(limits: PressureLimits) {
    this.#limits = limits
  }

  /** The last step that has been reached. */
  get level(): PressureLevel {
    return Math.floor(this.severity) as PressureLevel
  }

  /** @returns the part of the requests to refuse that are refused from a level on: none below the one before, all from it */
  refusedFrom(level: number): number {
    return Math.max(0, Math.min(1, this.severity - level + 1))
  }

  /** @param now milliseconds on any clock that only goes forward */
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

/** Where below the first step it begins. */
const ONSET = 0.8

/** A value that is no number says nothing: it neither raises the severity nor keeps it. */
function severityOf(value: number, steps: Steps): number {
  if (!Number.isFinite(value)) return 0
  let below = steps[0] * ONSET
  for (const [level, step] of steps.entries()) {
    if (value < step) return level + Math.max(0, (value - below) / (step - below))
    below = step
  }
  return steps.length
}
