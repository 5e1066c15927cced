import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Later, Outcome } from '../lib/entry.ts'
import { traffic } from '../lib/traffic.ts'
import { Admission, type AdmissionSettings, type Lane, type Priority } from './admission.ts'
import { Line } from './line.ts'
import { type Passage, Passages } from './passages.ts'
import { Refusals } from './refusals.ts'
import { PlainTicket, RefusedRequest, Ticket, WaitingRequest } from './tickets.ts'

export type RefusalReason = 'queue_full' | 'queue_timeout' | 'streams'

export interface DoorSettings extends AdmissionSettings {
  /** Milliseconds. */
  refusalDelay: number
  longestRefusal: number
  maxStreams: number
  /** Makes the error of a refusal, and counts it. */
  refuse: (reason: RefusalReason, priority: Priority) => Error
  /** Told of each request that was let in after a wait. */
  onWaited: (priority: Priority, milliseconds: number) => void
  /** Told of each whose client left while it waited. */
  onAbandoned: (priority: Priority) => void
}

const kTicket = Symbol('rhone.ticket')

declare module 'fastify' {
  interface FastifyRequest {
    [kTicket]: Ticket | PlainTicket | WaitingRequest | null
  }
}

/** Of requests that were alone, one in so many is measured. */
const SAMPLE = 8
/** How often lines are looked through while somebody stands in them, in milliseconds. */
const TICK = 4
const MAX_KEPT = 10_000
/** Work whose client has left is waited for that long, in milliseconds, before its place is given away. */
const GIVE_UP = 30_000

/** Where requests come in: at once, after a wait, or not at all. Each that came in is watched until its work is done. */
export class Door {
  readonly admission: Admission
  streams = 0
  readonly #settings: DoorSettings
  readonly #refusals: Refusals
  readonly #passages: Passages
  readonly #underWay = new Line<Ticket>()
  readonly #stream: PlainTicket
  #sinceSample = 0
  #ticker: NodeJS.Timeout | undefined

  constructor(app: FastifyInstance, settings: DoorSettings) {
    this.#settings = settings
    this.admission = new Admission(settings)
    this.#refusals = new Refusals({
      delay: settings.refusalDelay,
      longest: settings.longestRefusal,
      max: MAX_KEPT,
      clock: () => performance.now(),
      idled: () => performance.eventLoopUtilization().idle
    })
    this.#stream = new PlainTicket(this.admission.lanes.normal)

    app.decorateRequest(kTicket, null)
    traffic(app).onEnd((request, reply, status) => this.#onEnd(request, reply, status))
    this.#passages = new Passages(this.admission.lanes, settings.limiter)
    this.#passages.describeRoutes(app, passage => (request, reply, next) => {
      const outcome = this.#admit(request, reply, passage)
      if (typeof outcome === 'function') outcome(late => next(late as Error | undefined))
      else next(outcome as Error | undefined)
    })
    app.addHook('onClose', async () => clearInterval(this.#ticker))
  }

  receive(request: FastifyRequest, reply: FastifyReply): Outcome | Later {
    const passage = this.#passages.of(request)
    if (passage === null) return undefined
    if (passage.isStream) return this.#openStream(request, passage)
    if (!passage.isLate) return this.#admit(request, reply, passage)
    const { lane } = passage
    if (this.admission.isOpen(lane) || this.admission.hasRoom(lane, performance.now())) return undefined
    return this.#refuse(request, lane, 'queue_full')
  }

  turnAway(request: FastifyRequest, error: Error): Error | Later {
    if (!this.#refusals.hasRoom) return error
    return resume => {
      this.#refusals.keep(new RefusedRequest(performance.now(), request, error, resume))
      this.#watch()
    }
  }

  #admit(request: FastifyRequest, reply: FastifyReply, passage: Passage): Outcome | Later {
    const { lane } = passage
    if (this.admission.enter(lane)) {
      if (this.admission.inFlight > 1 || ++this.#sinceSample >= SAMPLE)
        this.#measure(request, reply, passage, performance.now())
      else request[kTicket] = passage.ticket
      return undefined
    }
    if (!this.admission.hasRoom(lane, performance.now())) return this.#refuse(request, lane, 'queue_full')
    return resume => this.#wait(request, reply, passage, resume)
  }

  #wait(request: FastifyRequest, reply: FastifyReply, passage: Passage, resume: (outcome: Outcome) => void): void {
    const { lane } = passage
    const since = performance.now()
    const waiting = new WaitingRequest(since, {
      start: now => {
        this.#settings.onWaited(lane.priority, now - since)
        this.#measure(request, reply, passage, now)
        resume(undefined)
      },
      expire: () => {
        request[kTicket] = null
        resume(this.#settings.refuse('queue_timeout', lane.priority))
      }
    })
    request[kTicket] = waiting
    this.admission.wait(lane, waiting)
    this.#watch()
  }

  #openStream(request: FastifyRequest, { lane }: Passage): Outcome | Later {
    if (this.streams >= this.#settings.maxStreams) return this.#refuse(request, lane, 'streams')
    this.streams++
    request[kTicket] = this.#stream
    return undefined
  }

  #refuse(request: FastifyRequest, { priority }: Lane, reason: RefusalReason): Error | Later {
    return this.turnAway(request, this.#settings.refuse(reason, priority))
  }

  #measure(request: FastifyRequest, reply: FastifyReply, { lane, meter }: Passage, now: number): Ticket {
    this.#sinceSample = 0
    const ticket = new Ticket(lane, meter, now, this.admission.inFlight, reply)
    this.#underWay.join(ticket)
    request[kTicket] = ticket
    return ticket
  }

  #onEnd(request: FastifyRequest, reply: FastifyReply, status: number): void {
    // Undefined in a scope that was made before this plugin was registered, for a request that was not let in.
    const ticket = request[kTicket] ?? null
    request[kTicket] = null
    if (ticket === null) return
    if (ticket === this.#stream) this.streams--
    else if (ticket instanceof WaitingRequest) this.#abandon(request, ticket)
    else if (!reply.sent) this.#goOnWithout(request, reply, ticket)
    else if (ticket instanceof Ticket) this.#take(ticket, status)
    else this.admission.leave(ticket.lane, this.admission.waiting > 0 ? performance.now() : 0)
  }

  #take(ticket: Ticket, status: number): void {
    if (!this.#underWay.leave(ticket)) return
    const { lane, meter, since, alongside } = ticket
    const now = performance.now()
    this.admission.took(now - since)
    // What was refused further in has not been through the work that the others have.
    if (status < 400) meter.took(now - since, alongside, now)
    this.admission.leave(lane, now)
  }

  #abandon(request: FastifyRequest, waiting: WaitingRequest): void {
    const { lane } = this.#passages.of(request)!
    this.admission.abandon(lane, waiting)
    this.#settings.onAbandoned(lane.priority)
  }

  /** The client has left, but the work goes on and holds what it holds. */
  #goOnWithout(request: FastifyRequest, reply: FastifyReply, held: Ticket | PlainTicket): void {
    const now = performance.now()
    const ticket = held instanceof Ticket ? held : this.#measure(request, reply, this.#passages.of(request)!, now)
    ticket.leftAt = now
  }

  /** Takes the places of those whose work is done, though their clients have left, or read the reply slowly. */
  sweep(now = performance.now()): void {
    for (let ticket = this.#underWay.first; ticket !== null; ) {
      const { lane, reply, leftAt, after } = ticket
      if ((reply.raw.writableEnded || now - leftAt > GIVE_UP) && this.#underWay.leave(ticket))
        this.admission.leave(lane, now)
      ticket = after as Ticket | null
    }
  }

  /** Clients wait for this timer: it keeps the process alive, for no longer than the longest wait. */
  #watch(): void {
    this.#ticker ??= setInterval(() => {
      const now = performance.now()
      this.sweep(now)
      this.admission.expire(now)
      this.#refusals.release()
      if (this.#refusals.length > 0 || this.admission.waiting > 0) return
      clearInterval(this.#ticker)
      this.#ticker = undefined
    }, TICK)
  }
}
