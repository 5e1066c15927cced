import { LinkedQueue, QueueEntry } from './linked-queue.ts'

/** The priorities that can be made to wait, most important first. */
export const PRIORITIES = ['operator', 'webhook', 'normal', 'bulk'] as const
export type Priority = (typeof PRIORITIES)[number]

/** A request that waits to be started. */
export interface Waiter extends QueueEntry {
  /** When it began to wait, in milliseconds. */
  readonly since: number
  /** Who sent it: requests of different senders take turns. */
  readonly sender: string
  readonly flow: Flow
  /** @param work what it counts as in flight, until `leave` is given it back */
  start(now: number, work: number): void
  /** Its time is up: it will not be started. */
  expire(now: number): void
}

/** The requests of one priority. */
export class Lane {
  readonly priority: Priority
  /** The part of all limits that is reserved for this priority. */
  readonly share: number
  /** Milliseconds that a request may wait. */
  readonly maxWait: number
  /** All that wait, in the order of arrival. */
  readonly arrivals = new LinkedQueue<Waiter>()
  /** The routes that have requests waiting. */
  readonly backlogged = new Set<Flow>()
  inFlight = 0
  /** Estimated CPU of those in flight, in milliseconds. */
  work = 0
  /** When a request that waited was last started. */
  startedAt = Number.NEGATIVE_INFINITY
  /** The service that the flow chosen last had received: where a flow that was idle begins. */
  virtualTime = 0

  constructor(priority: Priority, share: number, maxWait: number) {
    this.priority = priority
    this.share = share
    this.maxWait = maxWait
  }
}

/** Taken as the cost of a route of which nothing is known, and the least that any is taken to cost, in milliseconds. */
const UNKNOWN_COST = 0.5
const LEAST_COST = 0.05
/** Weight of one request in the estimate once there are some, and how many times the estimate it may count for. */
const WEIGHT = 0.05
const OUTLIER = 20

/** The requests of one route: what they cost, how much CPU they have received, and those of them that wait. */
export class Flow {
  readonly lane: Lane
  /** CPU of one request, in milliseconds: a moving estimate. */
  cost = UNKNOWN_COST
  /** CPU that this route has received, in milliseconds, on a scale that it shares with the others of its lane. */
  virtualTime = 0
  #waiting: SenderRotation | undefined
  #samples = 0

  constructor(lane: Lane) {
    this.lane = lane
  }

  /** @param cpu milliseconds that one request has used */
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

  /** The next one to start; there must be one. */
  shift(): Waiter {
    return this.#waiting!.shift()
  }

  remove(waiter: Waiter): void {
    this.#waiting?.remove(waiter)
  }
}

/** One sender's requests, in the order of arrival. */
class Sender extends QueueEntry {
  readonly name: string
  readonly waiters = new Set<Waiter>()

  constructor(name: string) {
    super()
    this.name = name
  }
}

/** Senders take turns, so that one with many requests does not delay those who have few. */
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
    sender.waiters.add(waiter)
    this.length++
  }

  shift(): Waiter {
    const sender = this.#order.first!
    const [waiter] = sender.waiters as Iterable<Waiter> as [Waiter]
    this.remove(waiter)
    if (this.#order.remove(sender)) this.#order.push(sender)
    return waiter
  }

  remove(waiter: Waiter): void {
    const sender = this.#senders.get(waiter.sender)
    if (sender?.waiters.delete(waiter) !== true) return
    this.length--
    if (sender.waiters.size > 0) return
    this.#senders.delete(sender.name)
    this.#order.remove(sender)
  }
}
