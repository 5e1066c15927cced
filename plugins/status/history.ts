import { COUNTED_STATES, type CountedState, type StatusDay } from './port.ts'

type Seconds = Record<CountedState, number>

/** Milliseconds of a day. */
const DAY = 86_400_000

/** Days in the form YYYY-MM-DD, in UTC. */
export const dayOf = (instant: number): string => new Date(instant).toISOString().slice(0, 10)

/** The last `count` days up to and including today, oldest first. */
export function lastDays(count: number, now: number): string[] {
  return Array.from({ length: count }, (_, index) => dayOf(now - (count - 1 - index) * DAY))
}

/**
 * How long each component was in each state, by UTC day: the stored observations of all instances, plus this one's
 * since the last write. Holds a bounded number of days, even while nothing can be stored.
 */
export class History {
  readonly #maxDays: number
  #stored = new Ledger()
  #pending = new Ledger()
  /** Being written to the store. */
  #written = new Ledger()

  constructor(maxDays: number) {
    this.#maxDays = maxDays
  }

  note(day: string, component: string, status: CountedState, seconds: number): void {
    this.#pending.add(day, component, { [status]: seconds })
    this.#pending.keepLast(this.#maxDays)
  }

  secondsOf(day: string, component: string): Seconds {
    const sum = zero()
    for (const ledger of [this.#stored, this.#written, this.#pending])
      for (const status of COUNTED_STATES) sum[status] += ledger.of(day, component)?.[status] ?? 0
    return sum
  }

  /**
   * Stores the observations in whole seconds; the remaining fraction waits. If storing fails, they are kept for the
   * next time.
   */
  async write(store: (days: readonly StatusDay[]) => Promise<void>): Promise<void> {
    const whole = this.#pending.takeWhole()
    this.#written = whole
    try {
      const days = whole.days()
      if (days.length > 0) await store(days)
      for (const { day, component, ...seconds } of days) this.#stored.add(day, component, seconds)
    } catch (error) {
      for (const { day, component, ...seconds } of whole.days()) this.#pending.add(day, component, seconds)
      throw error
    } finally {
      this.#written = new Ledger()
    }
  }

  /** Replaces the known stored days. */
  adopt(days: readonly StatusDay[]): void {
    this.#stored = new Ledger()
    for (const { day, component, ...seconds } of days) this.#stored.add(day, component, seconds)
  }
}

class Ledger {
  readonly #byDay = new Map<string, Map<string, Seconds>>()

  of(day: string, component: string): Seconds | undefined {
    return this.#byDay.get(day)?.get(component)
  }

  add(day: string, component: string, added: Partial<Seconds>): void {
    const ofDay = this.#byDay.get(day) ?? new Map<string, Seconds>()
    this.#byDay.set(day, ofDay)
    const seconds = ofDay.get(component) ?? zero()
    ofDay.set(component, seconds)
    for (const status of COUNTED_STATES) seconds[status] += added[status] ?? 0
  }

  keepLast(days: number): void {
    if (this.#byDay.size <= days) return
    for (const day of [...this.#byDay.keys()].sort().slice(0, -days)) this.#byDay.delete(day)
  }

  /** Removes and returns the whole seconds. */
  takeWhole(): Ledger {
    const taken = new Ledger()
    for (const [day, components] of this.#byDay)
      for (const [component, seconds] of components)
        for (const status of COUNTED_STATES) {
          const whole = Math.floor(seconds[status])
          seconds[status] -= whole
          if (whole > 0) taken.add(day, component, { [status]: whole })
        }
    return taken
  }

  /** In the order of their keys, so that instances that write at the same time cannot deadlock. */
  days(): StatusDay[] {
    return [...this.#byDay]
      .flatMap(([day, components]) => [...components].map(([component, seconds]) => ({ day, component, ...seconds })))
      .sort((a, b) => (`${a.day} ${a.component}` < `${b.day} ${b.component}` ? -1 : 1))
  }
}

const zero = (): Seconds => ({ operational: 0, degraded: 0, outage: 0, maintenance: 0 })
