import { QueueEntry } from '../../plugins/lib/linked-queue.ts'
import type { Admission } from '../../plugins/pressure/admission.ts'
import { Dispatcher, type DispatcherSettings, type Job } from '../../plugins/pressure/dispatcher.ts'
import type { Flow, Priority, Turn, Waiter } from '../../plugins/pressure/flow.ts'
import type { LatencyMeter } from '../../plugins/pressure/limiter.ts'
import { type Refusal, Refusals } from '../../plugins/pressure/refusals.ts'

/** Simulated costs, in milliseconds. */
export interface Costs {
  /** CPU of a request up to the decision, of an ordinary handler (half before its query), of a refusal. */
  arrival: number
  work: number
  refusal: number
  /** A query, on one of a number of connections. */
  query: (now: number) => number
  connections: number
}

/** A handler that waits for no connection. Milliseconds. */
export interface Handler {
  /** CPU before and after the wait. */
  readonly before: number
  readonly wait: number | (() => number)
  readonly after: number
}

export interface ClientGroup {
  readonly priority: Priority
  /** Number of connections. Each sends again `pause` milliseconds after an answer, or when a request is due. */
  readonly clients: number
  readonly pause?: number
  /** Requests that are due per second; none for a closed loop. */
  readonly rate?: number
  /** Absent: the ordinary one, which queries the database. */
  readonly handler?: Handler
}

export interface Outcome {
  served: number[]
  refused: number[]
}

/** Each group requests one route. */
interface Route {
  readonly group: ClientGroup
  readonly flow: Flow
  readonly meter: LatencyMeter
  readonly outcome: Outcome
  outstanding: number
}

class Request extends QueueEntry implements Waiter, Refusal, Job {
  readonly server: SimulatedServer
  readonly route: Route
  readonly sentAt: number
  readonly sender = 'anyone'
  turn: Turn | null = null
  since = 0
  startedAt = 0
  alongside = 0
  work = 0
  cpu = 0

  constructor(server: SimulatedServer, route: Route, sentAt: number) {
    super()
    this.server = server
    this.route = route
    this.sentAt = sentAt
  }

  get flow(): Flow {
    return this.route.flow
  }

  get expected(): number {
    return this.flow.cost
  }

  start(_now: number, work: number): void {
    this.server.begin(this, work)
  }

  expire(): void {
    this.send()
  }

  send(): void {
    this.server.refuse(this)
  }
}

const TICK = 4
/** Between two probes, at irregular intervals: regular ones would hit equally long turns always at the same point. */
const PROBE_PAUSE = { least: 10, spread: 20, step: 0.618 }

/**
 * An event loop like Node's, in simulated time: each turn handles all due timers and answers and all arrived requests,
 * one after the other, and then the work deferred to the end of the turn, when replies are sent as well.
 */
export class SimulatedServer {
  now = 0
  /** By priority, of all its client groups. */
  readonly outcomes: Record<Priority, Outcome>
  /** Latencies of probes. */
  probes: number[] = []
  readonly admission: Admission
  readonly #dispatcher: Dispatcher
  readonly #refusals: Refusals
  readonly #costs: Costs
  readonly #settings: DispatcherSettings['limiter']
  readonly #arrivals: Request[] = []
  readonly #due: { route: Route; at: number }[] = []
  readonly #pool: Request[] = []
  readonly #answers: { at: number; isQuery: boolean; request: Request }[] = []
  readonly #ticks: (() => void)[] = []
  #afterTurn: (() => void)[] = []
  #idled = 0
  #tickAt = TICK
  #probeAt = 0

  constructor(costs: Costs, settings: Omit<DispatcherSettings, 'loop'> & { refusalDelay: number }) {
    this.#costs = costs
    this.#settings = settings.limiter
    const loop = {
      now: () => this.now,
      idled: () => this.#idled,
      afterTurn: (callback: () => void) => void this.#afterTurn.push(callback),
      afterTicks: (callback: () => void) => void this.#ticks.push(callback)
    }
    this.#dispatcher = new Dispatcher({ ...settings, loop })
    this.admission = this.#dispatcher.admission
    this.outcomes = Object.fromEntries(
      Object.keys(settings.shares).map(priority => [priority, { served: [], refused: [] }])
    ) as unknown as Record<Priority, Outcome>
    this.#refusals = new Refusals({
      delay: settings.refusalDelay,
      longest: 1_000,
      max: 10_000,
      clock: loop.now,
      idled: loop.idled
    })
  }

  /** Connects a group of clients. @returns the outcomes of its requests */
  join(group: ClientGroup): Outcome {
    const outcome = { served: [], refused: [] }
    const route: Route = {
      group,
      outcome,
      flow: this.admission.flow(group.priority),
      meter: this.#settings.meter(),
      outstanding: 0
    }
    if (group.rate !== undefined) this.#due.push({ route, at: this.now })
    else for (let client = 0; client < group.clients; client++) this.#send(route, this.now)
    return outcome
  }

  run(milliseconds: number): void {
    const until = this.now + milliseconds
    while (this.now < until) {
      this.#sleep(until)
      this.#turn()
    }
  }

  /** Ends all open loops. */
  disperse(): void {
    this.#due.length = 0
  }

  /** Resets all statistics. */
  reset(...outcomes: Outcome[]): void {
    this.probes = []
    for (const outcome of [...outcomes, ...Object.values(this.outcomes)])
      Object.assign(outcome, { served: [], refused: [] })
  }

  begin(request: Request, work: number): void {
    const { handler } = request.route.group
    request.startedAt = this.now
    request.work = work
    request.alongside = this.admission.inFlight
    this.#dispatcher.started(request, this.now)
    this.now += handler?.before ?? this.#costs.work / 2
    if (handler === undefined) this.#query(request)
    else if (handler.wait === 0) this.#finish(request)
    else {
      const wait = typeof handler.wait === 'number' ? handler.wait : handler.wait()
      this.#answers.push({ at: this.now + wait, isQuery: false, request })
    }
  }

  refuse(request: Request): void {
    this.now += this.#costs.refusal
    this.#answer(request, 'refused')
  }

  get waitingForConnection(): number {
    return this.#pool.length
  }

  #send(route: Route, at: number): void {
    route.outstanding++
    this.#arrivals.push(new Request(this, route, at))
  }

  #answer({ route, sentAt }: Request, kind: keyof Outcome): void {
    route.outstanding--
    route.outcome[kind].push(this.now - sentAt)
    this.outcomes[route.group.priority][kind].push(this.now - sentAt)
    if (route.group.rate === undefined) this.#send(route, this.now + (route.group.pause ?? 0))
  }

  #sleep(until: number): void {
    if (this.#afterTurn.length > 0) return
    const times = [until, this.#tickAt, this.#probeAt]
    for (const { sentAt } of this.#arrivals) times.push(sentAt)
    for (const { at } of [...this.#answers, ...this.#due]) times.push(at)
    const next = times.reduce((first, time) => Math.min(first, time))
    if (next <= this.now) return
    this.#idled += next - this.now
    this.now = next
  }

  #turn(): void {
    const began = this.now
    if (began >= this.#tickAt) {
      this.#do(() => this.admission.expire(this.now))
      this.#do(() => this.#refusals.release())
      this.#tickAt = this.now + TICK
    }
    for (const answer of this.#answers.filter(({ at }) => at <= began)) {
      this.#answers.splice(this.#answers.indexOf(answer), 1)
      this.#do(() => this.#goOn(answer))
    }
    this.#sendDue(began)
    this.#arrivals.sort((a, b) => a.sentAt - b.sentAt)
    const later = this.#arrivals.findIndex(({ sentAt }) => sentAt > began)
    for (const request of this.#arrivals.splice(0, later < 0 ? this.#arrivals.length : later))
      this.#do(() => this.#arrive(request))
    this.#probe(began)
    const putOff = this.#afterTurn
    this.#afterTurn = []
    for (const callback of putOff) this.#do(callback)
  }

  /** Like Node after each callback. */
  #do(callback: () => void): void {
    callback()
    for (let tick = this.#ticks.shift(); tick !== undefined; tick = this.#ticks.shift()) tick()
  }

  #sendDue(began: number): void {
    for (const due of this.#due) {
      const { route } = due
      for (; due.at <= began; due.at += 1_000 / route.group.rate!)
        if (route.outstanding < route.group.clients) this.#send(route, due.at)
    }
  }

  #probe(began: number): void {
    if (this.#probeAt > began) return
    this.now += this.#costs.arrival
    this.probes.push(this.now - this.#probeAt)
    const { least, spread, step } = PROBE_PAUSE
    this.#probeAt = this.now + least + spread * ((this.probes.length * step) % 1)
  }

  #arrive(request: Request): void {
    this.now += this.#costs.arrival
    request.since = this.now
    const { flow } = request
    if (this.#dispatcher.isOpen(flow, this.now)) this.begin(request, this.admission.enter(flow))
    else if (this.admission.hasRoom(flow, this.now)) this.#dispatcher.wait(flow, request, this.now)
    else if (this.#refusals.hasRoom) this.#refusals.keep(request)
    else request.send()
  }

  #query(request: Request): void {
    this.#pool.push(request)
    this.#serveQueries()
  }

  #serveQueries(): void {
    let asked = this.#answers.reduce((count, { isQuery }) => count + Number(isQuery), 0)
    for (; asked < this.#costs.connections && this.#pool.length > 0; asked++)
      this.#answers.push({ at: this.now + this.#costs.query(this.now), isQuery: true, request: this.#pool.shift()! })
  }

  #goOn({ request, isQuery }: { request: Request; isQuery: boolean }): void {
    if (isQuery) this.#serveQueries()
    this.now += request.route.group.handler?.after ?? this.#costs.work / 2
    this.#finish(request)
  }

  #finish(request: Request): void {
    this.#dispatcher.replied(request, this.now)
    this.#afterTurn.push(() => {
      const { flow, work, startedAt, alongside, cpu, route } = request
      const latency = this.now - startedAt
      this.admission.took(latency, work)
      flow.learn(cpu)
      route.meter.took(latency, Math.max(alongside, this.admission.inFlight), this.now)
      this.#answer(request, 'served')
      this.#dispatcher.left(request)
    })
  }
}
