import type { ConcurrencyLimiter } from './limiter.ts'
import { Line, type Place } from './line.ts'

/** Those who may have to wait, the one who matters most first. */
export const PRIORITIES = ['operator', 'webhook', 'normal', 'bulk'] as const
export type Priority = (typeof PRIORITIES)[number]

/** A request that waits to be started. */
export interface Waiter extends Place {
  readonly since: number
  start(now: number): void
  /** It has waited in vain. */
  expire(now: number): void
}

/** The requests of one priority. */
export class Lane {
  readonly priority: Priority
  /** The part of the limit that is theirs whatever the others do. */
  readonly share: number
  /** Milliseconds that one of them may wait. */
  readonly maxWait: number
  readonly line = new Line<Waiter>()
  inFlight = 0

  constructor(priority: Priority, share: number, maxWait: number) {
    this.priority = priority
    this.share = share
    this.maxWait = maxWait
  }
}

export interface AdmissionSettings {
  limiter: ConcurrencyLimiter
  shares: Readonly<Record<Priority, number>>
  /** Milliseconds that a request may wait. */
  maxWait: number
  /** The same for webhooks, where it is another. */
  maxWebhookWait?: number
  /** How many of each priority may. */
  maxWaiting: number
}

/** A request is let in line if its turn should come within this part of the longest wait: predictions err. */
const MARGIN = 0.85
/** Of one request in the average. */
const WEIGHT = 0.02

/**
 * Starts as many requests at once as the limiter says. Every priority has a share of that which nobody can take from it;
 * beyond the shares, who matters most goes first. The others wait, if their turn can be expected to come in time.
 *
 * A priority that is within its share starts though the limit is reached: the others are not made to leave, so for a
 * moment there are more under way than the limit, by no more than the shares of the rest.
 */
export class Admission {
  readonly lanes: Readonly<Record<Priority, Lane>>
  inFlight = 0
  waiting = 0
  readonly #settings: AdmissionSettings
  readonly #lanes: readonly Lane[]
  /** Milliseconds that a request takes, on average over the last ones. */
  #latency = 0
  #isStarting = false

  constructor(settings: AdmissionSettings) {
    this.#settings = settings
    const { shares, maxWait, maxWebhookWait = maxWait } = settings
    this.#lanes = PRIORITIES.map(
      priority => new Lane(priority, shares[priority], priority === 'webhook' ? maxWebhookWait : maxWait)
    )
    this.lanes = Object.fromEntries(this.#lanes.map(lane => [lane.priority, lane])) as Record<Priority, Lane>
  }

  /** Whether a request may start at once; if so, it has. */
  enter(lane: Lane): boolean {
    if (!this.isOpen(lane)) return false
    this.#count(lane)
    return true
  }

  isOpen(lane: Lane): boolean {
    const { limit } = this.#settings.limiter
    return this.inFlight < limit || lane.inFlight < lane.share * limit
  }

  /** A request that has started is done. */
  leave(lane: Lane, now: number): void {
    this.inFlight--
    lane.inFlight--
    if (this.waiting > 0) this.#startWaiting(now)
  }

  /** How long one has taken: by the law of Little, that and the number under way say how many are done in a while. */
  took(latency: number): void {
    this.#latency = this.#latency === 0 ? latency : this.#latency + WEIGHT * (latency - this.#latency)
  }

  /** Whether one more that waits would be served in time. */
  hasRoom(lane: Lane, now: number): boolean {
    const { limiter, maxWaiting } = this.#settings
    const { line } = lane
    if (line.length >= maxWaiting) return false
    const bearable = lane.maxWait * MARGIN
    // When nothing moves, nobody should join, whatever used to be.
    if (line.first !== null && now - line.first.since > bearable) return false
    const atOnce = Math.max(lane.inFlight, lane.share * limiter.limit)
    return line.length * this.#latency <= bearable * atOnce
  }

  wait(lane: Lane, waiter: Waiter): void {
    lane.line.join(waiter)
    this.waiting++
  }

  /** A waiter has gone away. */
  abandon(lane: Lane, waiter: Waiter): void {
    if (lane.line.leave(waiter)) this.waiting--
  }

  /** Sends away those who have waited too long. To be called every few milliseconds while somebody waits. */
  expire(now: number): void {
    for (const { line, maxWait } of this.#lanes)
      while (line.first !== null && now - line.first.since > maxWait) {
        const late = line.first
        line.leave(late)
        this.waiting--
        late.expire(now)
      }
    if (this.waiting > 0) this.#startWaiting(now)
  }

  /** What is started may be done at once, and come back here. */
  #startWaiting(now: number): void {
    if (this.#isStarting) return
    this.#isStarting = true
    try {
      for (let lane = this.#next(); lane !== undefined; lane = this.#next()) {
        const waiter = lane.line.first!
        lane.line.leave(waiter)
        this.waiting--
        this.#count(lane)
        waiter.start(now)
      }
    } finally {
      this.#isStarting = false
    }
  }

  #next(): Lane | undefined {
    if (this.waiting === 0) return undefined
    const { limit } = this.#settings.limiter
    for (const lane of this.#lanes) if (lane.line.length > 0 && lane.inFlight < lane.share * limit) return lane
    if (this.inFlight >= limit) return undefined
    return this.#lanes.find(isWaitedIn)
  }

  #count(lane: Lane): void {
    this.inFlight++
    lane.inFlight++
  }
}

const isWaitedIn = (lane: Lane) => lane.line.length > 0
