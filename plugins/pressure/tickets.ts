import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Outcome } from '../lib/entry.ts'
import { QueueEntry } from '../lib/linked-queue.ts'
import type { Job } from './dispatcher.ts'
import type { Flow, Turn, Waiter } from './flow.ts'
import type { LatencyMeter } from './limiter.ts'
import type { Refusal } from './refusals.ts'

/** Held by a request from its start until its work is done. */
export class Ticket extends QueueEntry implements Job {
  readonly flow: Flow
  readonly meter: LatencyMeter
  readonly work: number
  readonly since: number
  /** Requests in flight when it started, itself included. */
  readonly alongside: number
  readonly reply: FastifyReply
  cpu = 0
  /** When its client left, if that was before the work was done. */
  leftAt = Number.POSITIVE_INFINITY

  constructor(
    policy: { flow: Flow; meter: LatencyMeter },
    work: number,
    since: number,
    alongside: number,
    reply: FastifyReply
  ) {
    super()
    this.flow = policy.flow
    this.meter = policy.meter
    this.work = work
    this.since = since
    this.alongside = alongside
    this.reply = reply
  }

  get expected(): number {
    return this.flow.cost
  }
}

/**
 * Held by a request that is neither measured nor tracked. Only a request that runs alone is unmeasured, so one per
 * route is enough.
 */
export class UntrackedTicket {
  readonly flow: Flow
  work = 0

  constructor(flow: Flow) {
    this.flow = flow
  }
}

/** A request waiting to be started. */
export class WaitingRequest extends QueueEntry implements Waiter {
  readonly since: number
  readonly sender: string
  readonly flow: Flow
  turn: Turn | null = null
  readonly start: Waiter['start']
  readonly expire: Waiter['expire']

  constructor(since: number, request: FastifyRequest, flow: Flow, { start, expire }: Pick<Waiter, 'start' | 'expire'>) {
    super()
    this.since = since
    this.sender = senderOf(request)
    this.flow = flow
    this.start = start
    this.expire = expire
  }
}

/** By credentials, although they are not yet verified: the per-address limit removes what made-up ones could gain. */
function senderOf({ headers: { authorization, cookie }, ip }: FastifyRequest): string {
  return authorization ?? cookie ?? ip
}

/** A request that will be refused. */
export class RefusedRequest extends QueueEntry implements Refusal {
  readonly since: number
  readonly #request: FastifyRequest
  readonly #resume: (outcome: Outcome) => void
  readonly #error: Error

  constructor(since: number, request: FastifyRequest, error: Error, resume: (outcome: Outcome) => void) {
    super()
    this.since = since
    this.#request = request
    this.#error = error
    this.#resume = resume
  }

  send(): void {
    // Otherwise its client has left.
    if (!this.#request.raw.socket.destroyed) this.#resume(this.#error)
  }
}
