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
  /** How many readings in a row must ask for more before the level rises, and for less before it falls. */
  riseAfter: number
  fallAfter: number
  /** In milliseconds: for how long there is pressure before it is sustained, and calm before it no longer is. */
  sustainIn: number
  sustainOut: number
}

/** A level falls only once the value is this far below the step that raised it. */
const CALM = 0.8

/** Readings in, level out. It keeps no time of its own, so that it can be told any. */
export class PressureGauge {
  level: PressureLevel = 0
  reason: PressureReason = 'event_loop'
  sustained = false
  readonly #limits: PressureLimits
  #higher = 0
  #lower = 0
  #changedAt = Number.NEGATIVE_INFINITY

  constructor(limits: PressureLimits) {
    this.#limits = limits
  }

  /** @param now milliseconds on any clock that only goes forward */
  take(reading: PressureReading, now: number): void {
    const wasCalm = this.level === 0
    this.#moveTo(this.#wanted(reading, 1), this.#wanted(reading, CALM))
    if (wasCalm !== (this.level === 0)) this.#changedAt = now

    const lasted = now - this.#changedAt
    if (this.level > 0 && lasted >= this.#limits.sustainIn) this.sustained = true
    if (this.level === 0 && lasted >= this.#limits.sustainOut) this.sustained = false
  }

  #moveTo(rising: Wanted, falling: Wanted): void {
    this.#higher = rising.level > this.level ? this.#higher + 1 : 0
    this.#lower = falling.level < this.level ? this.#lower + 1 : 0
    if (this.#higher >= this.#limits.riseAfter) this.#enter(rising)
    else if (this.#lower >= this.#limits.fallAfter) this.#enter(falling)
  }

  #enter({ level, reason }: Wanted): void {
    this.level = level
    if (level > 0) this.reason = reason
    this.#higher = 0
    this.#lower = 0
  }

  /** The level that a reading asks for, with every step moved by `factor`. */
  #wanted(reading: PressureReading, factor: number): Wanted {
    const limits = this.#limits
    const isBusy = reading.eventLoopUtilization >= limits.minUtilization
    const all: Wanted[] = [
      { reason: 'event_loop', level: isBusy ? levelOf(reading.eventLoopDelay, limits.eventLoopDelay, factor) : 0 },
      { reason: 'heap', level: levelOf(reading.heapUsed, limits.heapUsed, factor) },
      { reason: 'rss', level: levelOf(reading.rss, limits.rss, factor) }
    ]
    return all.reduce((worst, each) => (each.level > worst.level ? each : worst))
  }
}

interface Wanted {
  readonly level: PressureLevel
  readonly reason: PressureReason
}

/** A value that is no number says nothing: it neither raises a level nor keeps one. */
function levelOf(value: number, [first, second, third]: Steps, factor: number): PressureLevel {
  if (!Number.isFinite(value)) return 0
  if (value >= third * factor) return 3
  if (value >= second * factor) return 2
  return value >= first * factor ? 1 : 0
}
