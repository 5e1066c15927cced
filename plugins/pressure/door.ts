import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { traffic } from '../lib/traffic.ts'
import { Admission, type AdmissionSettings, type Lane, type Priority } from './admission.ts'
import { unmetered } from './limiter.ts'
import { type Passage, Passages } from './passages.ts'
import { Refusals } from './refusals.ts'
import { type Next, RefusedRequest, Ticket, WaitingRequest } from './tickets.ts'

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
    [kTicket]: Ticket | WaitingRequest | null
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
  readonly #orphans = new Set<NodeJS.Timeout>()
  readonly #stream: Ticket
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
    this.#stream = new Ticket(this.admission.lanes.normal, unmetered, 0, 0)

    app.decorateRequest(kTicket, null)
    traffic(app).onEnd((request, reply, status) => this.#onEnd(request, reply, status))
    this.#passages = new Passages(this.admission.lanes, settings.limiter)
    this.#passages.describeRoutes(
      app,
      passage => (request, _reply, next) => this.#admit(request, passage, next as Next)
    )
    // By then the work is done, though the client may take its time to read the reply.
    app.addHook('onSend', (request, reply, _payload, next) => {
      const ticket = request[kTicket]
      if (ticket instanceof Ticket && ticket !== this.#stream) this.#leave(request, ticket, reply.statusCode)
      next()
    })
    app.addHook('onClose', async () => {
      clearInterval(this.#ticker)
      for (const timer of this.#orphans) clearTimeout(timer)
    })
  }

  receive(request: FastifyRequest, next: Next): void {
    const passage = this.#passages.of(request)
    if (passage === null) next()
    else if (passage.isStream) this.#openStream(request, passage, next)
    else if (!passage.isLate) this.#admit(request, passage, next)
    else if (this.#couldEnter(passage.lane)) next()
    else this.#refuse(request, passage, next, 'queue_full')
  }

  turnAway(request: FastifyRequest, next: Next, error: Error): void {
    if (this.#refusals.keep(new RefusedRequest(performance.now(), request, next, error))) this.#watch()
    else next(error)
  }

  #admit(request: FastifyRequest, passage: Passage, next: Next): void {
    if (this.admission.enter(passage.lane)) {
      const { inFlight } = this.admission
      const isMeasured = inFlight > 1 || ++this.#sinceSample >= SAMPLE
      request[kTicket] = isMeasured ? this.#measure(passage, inFlight, performance.now()) : passage.ticket
      next()
    } else if (this.admission.hasRoom(passage.lane, performance.now())) this.#wait(request, passage, next)
    else this.#refuse(request, passage, next, 'queue_full')
  }

  #wait(request: FastifyRequest, passage: Passage, next: Next): void {
    const { lane } = passage
    const since = performance.now()
    const waiting = new WaitingRequest(since, {
      start: now => {
        this.#settings.onWaited(lane.priority, now - since)
        request[kTicket] = this.#measure(passage, this.admission.inFlight, now)
        next()
      },
      expire: () => {
        request[kTicket] = null
        next(this.#settings.refuse('queue_timeout', lane.priority))
      }
    })
    request[kTicket] = waiting
    this.admission.wait(lane, waiting)
    this.#watch()
  }

  #openStream(request: FastifyRequest, passage: Passage, next: Next): void {
    if (this.streams >= this.#settings.maxStreams) this.#refuse(request, passage, next, 'streams')
    else {
      this.streams++
      request[kTicket] = this.#stream
      next()
    }
  }

  #couldEnter(lane: Lane): boolean {
    return this.admission.isOpen(lane) || this.admission.hasRoom(lane, performance.now())
  }

  #refuse(request: FastifyRequest, { lane }: Passage, next: Next, reason: RefusalReason): void {
    this.turnAway(request, next, this.#settings.refuse(reason, lane.priority))
  }

  #measure({ lane, meter }: Passage, alongside: number, now: number): Ticket {
    this.#sinceSample = 0
    return new Ticket(lane, meter, now, alongside)
  }

  #leave(request: FastifyRequest, ticket: Ticket, status: number): void {
    request[kTicket] = null
    const { lane, meter, since, alongside } = ticket
    const now = alongside > 0 || this.admission.waiting > 0 ? performance.now() : 0
    if (alongside > 0) {
      this.admission.took(now - since)
      // What was refused further in has not been through the work that the others have.
      if (status < 400) meter.took(now - since, alongside, now)
    }
    this.admission.leave(lane, now)
  }

  #onEnd(request: FastifyRequest, reply: FastifyReply, status: number): void {
    const ticket = request[kTicket]
    if (ticket === null) return
    if (ticket === this.#stream) {
      request[kTicket] = null
      this.streams--
    } else if (ticket instanceof WaitingRequest) this.#abandon(request, ticket)
    else if (reply.sent) this.#leave(request, ticket as Ticket, status)
    else this.#orphan(request, ticket as Ticket, status)
  }

  #abandon(request: FastifyRequest, waiting: WaitingRequest): void {
    const passage = this.#passages.of(request)!
    request[kTicket] = null
    this.admission.abandon(passage.lane, waiting)
    this.#settings.onAbandoned(passage.lane.priority)
  }

  /** Its client has left, but the work goes on and holds what it holds; it comes to its reply, if it ever does. */
  #orphan(request: FastifyRequest, ticket: Ticket, status: number): void {
    const timer = setTimeout(() => {
      this.#orphans.delete(timer)
      if (request[kTicket] === ticket) this.#leave(request, ticket, status)
    }, GIVE_UP).unref()
    this.#orphans.add(timer)
  }

  /** Clients wait for this timer: it keeps the process alive, for no longer than the longest wait. */
  #watch(): void {
    this.#ticker ??= setInterval(() => {
      this.admission.expire(performance.now())
      this.#refusals.release()
      if (this.#refusals.length > 0 || this.admission.waiting > 0) return
      clearInterval(this.#ticker)
      this.#ticker = undefined
    }, TICK)
  }
}
