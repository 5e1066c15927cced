import type { FastifyRequest } from 'fastify'
import type { Lane, Waiter } from './admission.ts'
import type { LatencyMeter } from './limiter.ts'
import { Place } from './line.ts'
import type { Refusal } from './refusals.ts'

export type Next = (error?: Error) => void

/** What a request that was let in holds until its work is done. */
export class Ticket {
  readonly lane: Lane
  readonly meter: LatencyMeter
  readonly since: number
  /** How many were under way when it came in, itself included; 0 when it is not measured. */
  readonly alongside: number

  constructor(lane: Lane, meter: LatencyMeter, since: number, alongside: number) {
    this.lane = lane
    this.meter = meter
    this.since = since
    this.alongside = alongside
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
  readonly #next: Next
  readonly #error: Error

  constructor(since: number, request: FastifyRequest, next: Next, error: Error) {
    super()
    this.since = since
    this.#request = request
    this.#next = next
    this.#error = error
  }

  send(): void {
    // Otherwise nobody is there any more to read it.
    if (!this.#request.raw.socket.destroyed) this.#next(this.#error)
  }
}
