import { Admission, type AdmissionSettings } from './admission.ts'
import { type Account, CpuLedger } from './cpu-ledger.ts'
import type { Flow, Waiter } from './flow.ts'
import { Turns } from './turns.ts'
import { WorkLimit } from './work-limit.ts'

export interface DispatcherSettings extends Omit<AdmissionSettings, 'work'> {
  /** Milliseconds after which nothing more is started in a turn of the event loop. */
  turnBudget: number
  loop: Loop
}

/** What has to be known of the event loop. */
export interface Loop {
  /** Milliseconds on a clock that only goes forward. */
  now(): number
  /** Milliseconds for which the loop has been idle since it began. */
  idled(): number
  /** Calls back when all that the system has reported has been handled. */
  afterTurn(callback: () => void): void
  /** Calls back, in this turn, when what has been started has run as far as it can without waiting for the system. */
  afterTicks(callback: () => void): void
}

/** A request that has started. */
export interface Job extends Account {
  readonly flow: Flow
  /** What {@link Admission.enter} has given. */
  readonly work: number
}

/** The most CPU that may be in flight, in milliseconds, however long the rest of a request takes. */
const MOST_WORK = 2_000

/**
 * Starts requests when the event loop has time for them, and learns what they cost. Nothing is started in a turn that has
 * used its budget; what waits is started at the end of the turn, when probes and answers of the database have been handled.
 */
export class Dispatcher {
  readonly admission: Admission
  readonly #loop: Loop
  readonly #turns: Turns
  readonly #ledger = new CpuLedger()
  readonly #drain = () => this.#startWaiting()
  #isDraining = false
  /** For how long the loop had been idle when this turn began; it is never idle within one. */
  #idled = 0

  constructor(settings: DispatcherSettings) {
    const { loop, turnBudget } = settings
    const work = new WorkLimit({ min: turnBudget, max: MOST_WORK })
    this.#loop = loop
    this.admission = new Admission({ ...settings, work })
    this.#turns = new Turns({
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

  /** Whether a request that has just come may start at once. */
  isOpen(flow: Flow, now: number): boolean {
    this.#ledger.interrupted(this.#busy(now))
    return this.admission.isOpen(flow) && !this.#turns.isSpent(now)
  }

  /** Has a request wait until there is time for it. */
  wait(flow: Flow, waiter: Waiter, now: number): void {
    this.#busy(now) // so that the turn has an end, at which waiting requests are started
    this.admission.wait(flow, waiter)
  }

  /** A request starts now. */
  started(job: Job, now: number): void {
    this.#ledger.started(job, this.#busy(now))
  }

  /** A request has sent its reply, though perhaps not all of it has left. */
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
