import { Admission, type AdmissionSettings } from './admission.ts'
import { type Account, CpuLedger } from './cpu-ledger.ts'
import type { Flow, Waiter } from './flow.ts'
import { AdmissionTurns } from './turns.ts'
import { WorkLimit } from './work-limit.ts'

export interface DispatcherSettings extends Omit<AdmissionSettings, 'work'> {
  /** Time budget of an event-loop turn in milliseconds; once it is used up, nothing more starts in that turn. */
  turnBudget: number
  loop: LoopProbe
}

/** The event-loop readings and callbacks that the dispatcher needs. */
export interface LoopProbe {
  /** Monotonic clock, in milliseconds. */
  now(): number
  /** Total idle time of the loop so far, in milliseconds. */
  idled(): number
  /** Calls back once all pending system events have been handled. */
  afterTurn(callback: () => void): void
  /** Calls back within this turn, once what has been started cannot continue without waiting for the system. */
  afterTicks(callback: () => void): void
}

/** A request that has started. */
export interface Job extends Account {
  readonly flow: Flow
  /** The work returned by {@link Admission.enter}. */
  readonly work: number
}

/** Maximum CPU that may be in flight, in milliseconds, regardless of how long the rest of a request takes. */
const MOST_WORK = 2_000

/**
 * Starts requests when the event loop has time for them, and measures their cost. Nothing starts in a turn that has
 * used its budget; waiting requests start at the end of the turn, after probes and database replies have been handled.
 */
export class Dispatcher {
  readonly admission: Admission
  readonly #loop: LoopProbe
  readonly #turns: AdmissionTurns
  readonly #ledger = new CpuLedger()
  readonly #drain = () => this.#startWaiting()
  #isDraining = false
  /** Total idle time when this turn began; the loop is never idle within a turn. */
  #idled = 0

  constructor(settings: DispatcherSettings) {
    const { loop, turnBudget } = settings
    const work = new WorkLimit({ min: turnBudget, max: MOST_WORK })
    this.#loop = loop
    this.admission = new Admission({ ...settings, work })
    this.#turns = new AdmissionTurns({
      budget: turnBudget,
      clock: loop.now,
      afterTurn: loop.afterTurn,
      onEnd: (now, duration) => {
        this.#ledger.interrupted(now - this.#idled)
        work.turned(now, duration, this.#idled)
        this.#startWaiting()
      }
    })
  }

  /** Whether a new request may start now. */
  isOpen(flow: Flow, now: number): boolean {
    this.#ledger.interrupted(this.#busy(now))
    return this.admission.isOpen(flow) && !this.#turns.isSpent(now)
  }

  /** Queues a request until there is time for it. */
  wait(flow: Flow, waiter: Waiter, now: number): void {
    this.#busy(now) // so that the turn has an end, at which waiting requests are started
    this.admission.wait(flow, waiter)
  }

  /** Starts a request now. */
  started(job: Job, now: number): void {
    this.#ledger.started(job, this.#busy(now))
  }

  /** A request has sent its reply, though some of it may still be in transit. */
  replied(job: Job, now: number): void {
    this.#ledger.replied(job, this.#busy(now))
  }

  /** A request no longer counts. */
  left({ flow, work }: Pick<Job, 'flow' | 'work'>): void {
    this.admission.leave(flow, work)
    if (this.admission.waiting === 0 || this.#isDraining) return
    this.#isDraining = true
    this.#loop.afterTicks(this.#drain)
  }

  /** One at a time, because each may use up the turn. */
  #startWaiting(): void {
    const now = this.#loop.now()
    this.#isDraining = !this.#turns.isSpent(now) && this.admission.startNext(now)
    if (this.#isDraining) this.#loop.afterTicks(this.#drain)
  }

  #busy(now: number): number {
    if (this.#turns.open(now)) this.#idled = this.#loop.idled()
    return now - this.#idled
  }
}
