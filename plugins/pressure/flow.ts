import { LinkedQueue, QueueEntry } from '../lib/linked-queue.ts'

/** The priorities that may be queued, most important first. */
export const PRIORITIES = ['operator', 'webhook', 'normal', 'bulk'] as const
export type Priority = (typeof PRIORITIES)[number]

/** A request waiting to be started. */
export interface Waiter extends QueueEntry {
  /** When it began to wait, in milliseconds. */
  readonly since: number
  /** The sender: requests from different senders take turns. */
  readonly sender: string
  readonly flow: Flow
  /** Its turn among the requests of its sender; set by the flow. */
  turn: Turn | null
  /** @param work its share of the work in flight, to be given back to `leave` */
  start(now: number, work: number): void
  /** Its wait has expired: it will not be started. */
  expire(now: number): void
}

/** The place of a waiting request among those of its sender. */
export class Turn extends QueueEntry {
  readonly waiter: Waiter

  constructor(waiter: Waiter) {
    super()
    this.waiter = waiter
  }
}

/** The requests of one priority. */
export class Lane {
  readonly priority: Priority
  /** The fraction of all limits reserved for this priority. */
  readonly share: number
  /** Maximum time that a request may wait, in milliseconds. */
  readonly maxWait: number
  /** All waiting requests, in order of arrival. */
  readonly arrivals = new LinkedQueue<Waiter>()
  /** The routes with waiting requests. */
  readonly backlogged = new Set<Flow>()
  inFlight = 0
  /** Estimated CPU of requests in flight, in milliseconds. */
  work = 0
  /** When a waiting request was last started. */
  startedAt = Number.NEGATIVE_INFINITY
  /** Service received by the most recently chosen flow: the starting point for a flow that was idle. */
  virtualTime = 0

  constructor(priority: Priority, share: number, maxWait: number) {
    this.priority = priority
    this.share = share
    this.maxWait = maxWait
  }
}

/** Assumed cost of a route without measurements, and the minimum cost of any route, in milliseconds. */
const UNKNOWN_COST = 0.5
const LEAST_COST = 0.05
/** Weight of one request in an established estimate, and the cap on its contribution as a multiple of the estimate. */
const WEIGHT = 0.05
const OUTLIER = 20

/** The requests of one route: their cost, the CPU they have received, and those that wait. */
export class Flow {
  readonly lane: Lane
  /** CPU of one request, in milliseconds: a moving estimate. */
  cost = UNKNOWN_COST
  /** CPU received by this route, in milliseconds, on a scale shared with the other routes in its lane. */
  virtualTime = 0
  #waiting: SenderRotation | undefined
  #samples = 0

  constructor(lane: Lane) {
    this.lane = lane
  }

  /** @param cpu milliseconds used by one request */
  learn(cpu: number): void {
    this.#samples++
    const known = Math.min(cpu, this.#samples === 1 ? cpu : this.cost * OUTLIER)
    const weight = Math.max(WEIGHT, 1 / this.#samples)
    this.cost = Math.max(LEAST_COST, this.cost + weight * (known - this.cost))
  }

  get waiting(): number {
    return this.#waiting?.length ?? 0
  }

  push(waiter: Waiter): void {
    this.#waiting ??= new SenderRotation()
    this.#waiting.push(waiter)
  }

  /** The next request to start; at least one must be waiting. */
  shift(): Waiter {
    return this.#waiting!.shift()
  }

  remove(waiter: Waiter): void {
    this.#waiting?.remove(waiter)
  }
}

/** One sender's requests, in order of arrival. */
class Sender extends QueueEntry {
  readonly name: string
  readonly turns = new LinkedQueue<Turn>()

  constructor(name: string) {
    super()
    this.name = name
  }
}

/** Senders take turns, so that one with many requests does not delay those with few. */
class SenderRotation {
  length = 0
  readonly #senders = new Map<string, Sender>()
  readonly #order = new LinkedQueue<Sender>()

  push(waiter: Waiter): void {
    const { sender: name } = waiter
    let sender = this.#senders.get(name)
    if (sender === undefined) {
      sender = new Sender(name)
      this.#senders.set(name, sender)
      this.#order.push(sender)
    }
    waiter.turn = new Turn(waiter)
    sender.turns.push(waiter.turn)
    this.length++
  }

  shift(): Waiter {
    const sender = this.#order.first!
    const { waiter } = sender.turns.first!
    this.remove(waiter)
    if (this.#order.remove(sender)) this.#order.push(sender)
    return waiter
  }

  remove(waiter: Waiter): void {
    const sender = this.#senders.get(waiter.sender)
    if (sender === undefined || waiter.turn === null || !sender.turns.remove(waiter.turn)) return
    waiter.turn = null
    this.length--
    if (sender.turns.length > 0) return
    this.#senders.delete(sender.name)
    this.#order.remove(sender)
  }
}
