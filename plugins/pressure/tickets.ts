import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Outcome } from '../lib/entry.ts'
import type { Lane, Waiter } from './admission.ts'
import type { LatencyMeter } from './limiter.ts'
import { Place } from './line.ts'
import type { Refusal } from './refusals.ts'

/** What a request that was let in holds until its work is done. */
export class Ticket extends Place {
  readonly lane: Lane
  readonly meter: LatencyMeter
  readonly since: number
  /** How many were under way when it came in, itself included. */
  readonly alongside: number
  readonly reply: FastifyReply
  /** When its client left, though the work goes on. */
  leftAt = Number.POSITIVE_INFINITY

  constructor(lane: Lane, meter: LatencyMeter, since: number, alongside: number, reply: FastifyReply) {
    super()
    this.lane = lane
    this.meter = meter
    this.since = since
    this.alongside = alongside
    this.reply = reply
  }
}

/** For those that are neither measured nor looked after. */
export class PlainTicket {
  readonly lane: Lane

  constructor(lane: Lane) {
    this.lane = lane
  }
}

/** A request in line. */
export class WaitingRequest extends Place implements Waiter {
  readonly since: number
  readonly start: (now: number) => void
  readonly expire: (now: number) => void

  constructor(since: number, { start, expire }: Pick<Waiter, 'start' | 'expire'>) {
    super()
    this.since = since
    this.start = start
    this.expire = expire
  }
}

/** A request that will be refused. */
export class RefusedRequest extends Place implements Refusal {
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
    // Otherwise nobody is there any more to read it.
    if (!this.#request.raw.socket.destroyed) this.#resume(this.#error)
  }
}
