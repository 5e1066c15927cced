import { Flow, Lane, PRIORITIES, type Priority, type Waiter } from './flow.ts'
import type { ConcurrencyLimiter } from './limiter.ts'

export interface AdmissionSettings {
  limiter: ConcurrencyLimiter
  /** Limit on estimated CPU in flight, in milliseconds; unlimited when absent. */
  work?: { readonly limit: number; reached(): void }
  shares: Readonly<Record<Priority, number>>
  /** Maximum time that a request may wait, in milliseconds. */
  maxWait: number
  /** The same for webhooks, if different. */
  maxWebhookWait?: number
  /** How many requests of each priority may wait. */
  maxWaiting: number
}

/** A request may queue if its predicted wait is within this fraction of the longest one, because predictions err. */
const MARGIN = 0.85
/** Weight of one request in the mean latency. */
const WEIGHT = 0.02
const UNBOUNDED = { limit: Number.POSITIVE_INFINITY, reached() {} }

/**
 * Decides which request starts next. The limiter bounds the number of requests in flight, the work limit their CPU.
 *
 * Each priority has a reserved share of both limits; beyond the shares, higher priorities go first. A priority within
 * its share starts even if others have filled the limit: those are not stopped, so for a moment the requests in flight
 * exceed the limit, by at most the other shares. Within a priority, the route that has received the least CPU goes
 * first, and within a route its senders take turns.
 */
export class Admission {
  readonly lanes: Readonly<Record<Priority, Lane>>
  inFlight = 0
  waiting = 0
  /** Estimated CPU of all requests in flight, in milliseconds. */
  work = 0
  readonly #settings: AdmissionSettings
  readonly #work: NonNullable<AdmissionSettings['work']>
  readonly #lanes: readonly Lane[]
  /** Milliseconds from start to end of a request, and its work: moving averages. */
  #latency = 0
  #meanWork = 0

  constructor(settings: AdmissionSettings) {
    this.#settings = settings
    this.#work = settings.work ?? UNBOUNDED
    const { shares, maxWait, maxWebhookWait = maxWait } = settings
    this.#lanes = PRIORITIES.map(
      priority => new Lane(priority, shares[priority], priority === 'webhook' ? maxWebhookWait : maxWait)
    )
    this.lanes = Object.fromEntries(this.#lanes.map(lane => [lane.priority, lane])) as Record<Priority, Lane>
  }

  flow(priority: Priority): Flow {
    return new Flow(this.lanes[priority])
  }

  /** Whether a new request may start now, without queueing behind others. */
  isOpen({ lane }: Flow): boolean {
    if (lane.arrivals.length > 0) return false
    return this.#isWithinShare(lane) || (this.waiting === 0 && this.#isBelowLimits())
  }

  /**
   * Starts a request.
   *
   * @returns the work to give back to {@link leave}
   */
  enter(flow: Flow): number {
    const { lane, cost } = flow
    flow.virtualTime = Math.max(flow.virtualTime, lane.virtualTime) + cost
    this.inFlight++
    lane.inFlight++
    this.work += cost
    lane.work += cost
    return cost
  }

  /** Ends a request that had started. */
  leave({ lane }: Flow, work: number): void {
    this.inFlight--
    lane.inFlight--
    // Sums of fractions drift, so with nothing in flight the work is reset to zero.
    this.work = this.inFlight === 0 ? 0 : this.work - work
    lane.work = lane.inFlight === 0 ? 0 : lane.work - work
  }

  /**
   * Records how long a request took, in milliseconds: by Little's law, latency and work in flight give the throughput.
   * The mean is weighted by work, because a more expensive request makes up more of what others wait for.
   */
  took(latency: number, work: number): void {
    this.#meanWork = this.#meanWork === 0 ? work : this.#meanWork + WEIGHT * (work - this.#meanWork)
    const weight = Math.min(1, this.#latency === 0 ? 1 : (WEIGHT * work) / this.#meanWork)
    this.#latency += weight * (latency - this.#latency)
  }

  /** Whether one more request would start in time if it waited. */
  hasRoom(flow: Flow, now: number): boolean {
    const { limiter, maxWaiting } = this.#settings
    const { lane, cost, waiting } = flow
    const { arrivals, backlogged, share, startedAt } = lane
    if (arrivals.length >= maxWaiting) return false
    const bearable = lane.maxWait * MARGIN
    const { first } = arrivals
    // When nothing moves, no request should queue, whatever the past throughput.
    if (first !== null && now - first.since > bearable && (first.flow === flow || now - startedAt > bearable))
      return false
    // Routes take turns: another route delays this one by at most the work that this one has waiting.
    const own = waiting * cost
    let ahead = own
    for (const other of backlogged) if (other.cost !== cost) ahead += Math.min(own, other.waiting * other.cost)
    const atOnce = Math.max(lane.work, share * Math.min(limiter.limit * cost, this.#work.limit))
    return ahead * this.#latency <= bearable * atOnce
  }

  wait(flow: Flow, waiter: Waiter): void {
    const { lane } = flow
    if (flow.waiting === 0) {
      flow.virtualTime = Math.max(flow.virtualTime, lane.virtualTime)
      lane.backlogged.add(flow)
    }
    flow.push(waiter)
    lane.arrivals.push(waiter)
    this.waiting++
  }

  /** Removes a waiting request whose client has left. */
  abandon(flow: Flow, waiter: Waiter): void {
    if (flow.lane.arrivals.remove(waiter)) this.#forget(flow, waiter)
  }

  /** Expires requests that have waited too long. Call every few milliseconds while any wait. */
  expire(now: number): void {
    for (const { arrivals, maxWait } of this.#lanes)
      while (arrivals.first !== null && now - arrivals.first.since > maxWait) {
        const late = arrivals.first
        this.abandon(late.flow, late)
        late.expire(now)
      }
  }

  /** Starts the next request, if there is one and the limits allow it. */
  startNext(now: number): boolean {
    const lane = this.#nextLane()
    if (lane === undefined) return false
    const flow = leastServed(lane.backlogged)
    lane.startedAt = now
    const waiter = flow.shift()
    lane.virtualTime = flow.virtualTime
    lane.arrivals.remove(waiter)
    this.#forget(flow, waiter)
    waiter.start(now, this.enter(flow))
    return true
  }

  #forget(flow: Flow, waiter: Waiter): void {
    this.waiting--
    flow.remove(waiter)
    if (flow.waiting === 0) flow.lane.backlogged.delete(flow)
  }

  #nextLane(): Lane | undefined {
    if (this.waiting === 0) return undefined
    for (const lane of this.#lanes) if (lane.arrivals.length > 0 && this.#isWithinShare(lane)) return lane
    return this.#isBelowLimits() ? this.#lanes.find(isWaitedIn) : undefined
  }

  #isWithinShare({ inFlight, work, share }: Lane): boolean {
    const { limit } = this.#settings.limiter
    // A request that costs more than the share may still start.
    return inFlight < share * limit && (inFlight === 0 || work < share * this.#work.limit)
  }

  #isBelowLimits(): boolean {
    if (this.inFlight >= this.#settings.limiter.limit) return false
    if (this.inFlight === 0 || this.work < this.#work.limit) return true
    this.#work.reached()
    return false
  }
}

const isWaitedIn = (lane: Lane) => lane.arrivals.length > 0

function leastServed(flows: Iterable<Flow>): Flow {
  let least: Flow | undefined
  for (const flow of flows) if (least === undefined || flow.virtualTime < least.virtualTime) least = flow
  return least!
}
