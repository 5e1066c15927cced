import { AsyncResource } from 'node:async_hooks'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Later, Outcome } from '../lib/entry.ts'
import { requestTracker } from '../lib/request-tracker.ts'
import type { Admission } from './admission.ts'
import { Dispatcher, type DispatcherSettings } from './dispatcher.ts'
import type { Flow, Priority } from './flow.ts'
import { InFlight } from './in-flight.ts'
import { loop } from './loop.ts'
import { Refusals } from './refusals.ts'
import { RoutePolicies, type RoutePolicy } from './route-policies.ts'
import { RefusedRequest, Ticket, UntrackedTicket, WaitingRequest } from './tickets.ts'

export type RefusalReason = 'queue_full' | 'queue_timeout' | 'streams'

export interface GateSettings extends Omit<DispatcherSettings, 'loop'> {
  /** Milliseconds. */
  refusalDelay: number
  longestRefusal: number
  maxStreams: number
  /** Creates the error of a refusal, and counts it. */
  refuse: (reason: RefusalReason, priority: Priority) => Error
  /** Called for each request that starts after waiting. */
  onWaited: (priority: Priority, milliseconds: number) => void
  /** Called for each request whose client left while it waited. */
  onAbandoned: (priority: Priority) => void
}

const kTicket = Symbol('rhone.ticket')

declare module 'fastify' {
  interface FastifyRequest {
    [kTicket]: Ticket | UntrackedTicket | WaitingRequest | null
  }
}

/** Sampling: one in this many requests that run alone is measured. */
const SAMPLE = 8
/** How often queues are checked while requests wait, in milliseconds. */
const TICK = 4
const MAX_KEPT = 10_000

/** Admits requests: at once, after a wait, or not at all. Each admitted request is tracked until its work is done. */
export class Gate {
  readonly admission: Admission
  streams = 0
  readonly #settings: GateSettings
  readonly #dispatcher: Dispatcher
  readonly #refusals: Refusals
  readonly #policies: RoutePolicies
  readonly #inFlight: InFlight
  readonly #stream: UntrackedTicket
  #sinceSample = 0
  #ticker: NodeJS.Timeout | undefined

  constructor(app: FastifyInstance, settings: GateSettings) {
    this.#settings = settings
    this.#dispatcher = new Dispatcher({ ...settings, loop })
    this.#inFlight = new InFlight(this.#dispatcher)
    this.admission = this.#dispatcher.admission
    this.#refusals = new Refusals({
      delay: settings.refusalDelay,
      longest: settings.longestRefusal,
      max: MAX_KEPT,
      clock: loop.now,
      idled: loop.idled
    })
    this.#stream = new UntrackedTicket(this.admission.flow('normal'))

    app.decorateRequest(kTicket, null)
    requestTracker(app).onEnd((request, reply, status, _elapsed, now) => this.#onEnd(request, reply, status, now))
    this.#policies = new RoutePolicies(priority => this.admission.flow(priority), settings.limiter)
    this.#policies.describeRoutes(app, policy => (request, reply, next) => {
      const outcome = this.#admit(request, reply, policy)
      if (typeof outcome === 'function') outcome(late => next(late as Error | undefined))
      else next(outcome as Error | undefined)
    })
    app.addHook('onClose', async () => clearInterval(this.#ticker))
  }

  receive(request: FastifyRequest, reply: FastifyReply): Outcome | Later {
    const policy = this.#policies.of(request)
    if (policy === null) return undefined
    if (policy.isStream) return this.#openStream(request, policy)
    if (!policy.readsBody) return this.#admit(request, reply, policy)
    const { flow } = policy
    if (this.admission.isOpen(flow) || this.admission.hasRoom(flow, performance.now())) return undefined
    return this.#refuse(request, flow, 'queue_full')
  }

  turnAway(request: FastifyRequest, error: Error): Error | Later {
    if (!this.#refusals.hasRoom) return error
    return resume => {
      this.#refusals.keep(new RefusedRequest(performance.now(), request, error, resume))
      this.#watch()
    }
  }

  #admit(request: FastifyRequest, reply: FastifyReply, policy: RoutePolicy): Outcome | Later {
    const { flow, ticket } = policy
    const now = performance.now()
    if (!this.#dispatcher.isOpen(flow, now)) {
      if (!this.admission.hasRoom(flow, now)) return this.#refuse(request, flow, 'queue_full')
      return resume => this.#wait(request, reply, policy, now, resume)
    }
    const work = this.admission.enter(flow)
    if (this.admission.inFlight > 1 || ++this.#sinceSample >= SAMPLE) this.#measure(request, reply, policy, work, now)
    else {
      ticket.work = work
      request[kTicket] = ticket
    }
    return undefined
  }

  #wait(
    request: FastifyRequest,
    reply: FastifyReply,
    policy: RoutePolicy,
    since: number,
    resume: (outcome: Outcome) => void
  ): void {
    const { flow } = policy
    const { priority } = flow.lane
    // It is started by the end of another request, or by a timer. `AsyncResource.bind` would take 4 µs, this 0.05.
    const context = new AsyncResource('rhone.WaitingRequest')
    const resumeInContext = (outcome: Outcome) => context.runInAsyncScope(resume, undefined, outcome)
    const waiting = new WaitingRequest(since, request, flow, {
      start: (now, work) => {
        this.#settings.onWaited(priority, now - since)
        this.#measure(request, reply, policy, work, now)
        resumeInContext(undefined)
      },
      expire: () => {
        request[kTicket] = null
        resumeInContext(this.#settings.refuse('queue_timeout', priority))
      }
    })
    request[kTicket] = waiting
    this.#dispatcher.wait(flow, waiting, since)
    this.#watch()
  }

  #openStream(request: FastifyRequest, { flow }: RoutePolicy): Outcome | Later {
    if (this.streams >= this.#settings.maxStreams) return this.#refuse(request, flow, 'streams')
    this.streams++
    request[kTicket] = this.#stream
    return undefined
  }

  #refuse(request: FastifyRequest, { lane: { priority } }: Flow, reason: RefusalReason): Error | Later {
    return this.turnAway(request, this.#settings.refuse(reason, priority))
  }

  #measure(request: FastifyRequest, reply: FastifyReply, policy: RoutePolicy, work: number, now: number): Ticket {
    this.#sinceSample = 0
    const ticket = new Ticket(policy, work, now, this.admission.inFlight, reply)
    request[kTicket] = ticket
    this.#inFlight.add(ticket)
    return ticket
  }

  #onEnd(request: FastifyRequest, reply: FastifyReply, status: number, now: number): void {
    // Undefined in a scope created before this plugin was registered, for a request that was refused.
    const ticket = request[kTicket] ?? null
    request[kTicket] = null
    if (ticket === null) return
    if (ticket === this.#stream) this.streams--
    else if (ticket instanceof WaitingRequest) this.#abandon(ticket)
    else if (!reply.sent) this.#goOnWithoutClient(request, reply, ticket, now)
    else if (ticket instanceof Ticket) this.#inFlight.complete(ticket, status, now)
    else this.#dispatcher.left(ticket as UntrackedTicket)
  }

  #abandon(waiting: WaitingRequest): void {
    this.admission.abandon(waiting.flow, waiting)
    this.#settings.onAbandoned(waiting.flow.lane.priority)
  }

  /** The client has left, but the work continues and keeps its resources. */
  #goOnWithoutClient(request: FastifyRequest, reply: FastifyReply, held: Ticket | UntrackedTicket, now: number): void {
    const ticket =
      held instanceof Ticket ? held : this.#measure(request, reply, this.#policies.of(request)!, held.work, now)
    ticket.leftAt = now
  }

  /** Ends requests whose work is done, even if the client has left or reads the reply slowly. */
  sweep(now = performance.now()): void {
    this.#inFlight.sweep(now)
  }

  /** Clients wait for this timer: it keeps the process alive, but no longer than the longest wait. */
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
