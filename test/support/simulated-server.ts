import {
  Admission,
  type AdmissionSettings,
  type Lane,
  type Priority,
  type Waiter
} from '../../plugins/pressure/admission.ts'
import type { LatencyMeter } from '../../plugins/pressure/limiter.ts'
import { Place } from '../../plugins/pressure/line.ts'
import { type Refusal, Refusals } from '../../plugins/pressure/refusals.ts'

/** What things cost, in milliseconds. */
export interface Costs {
  /** CPU of a request up to the decision, of the work on one that is let in (half before its query), of a refusal. */
  arrival: number
  work: number
  refusal: number
  /** A query, on one of so many connections. */
  query: (now: number) => number
  connections: number
}

export interface Crowd {
  priority: Priority
  /** How many clients, each of which asks again `pause` milliseconds after each answer. */
  clients: number
  pause?: number
}

export interface Outcome {
  served: number[]
  refused: number[]
}

class Job extends Place implements Waiter, Refusal {
  readonly server: SimulatedServer
  readonly crowd: Crowd
  readonly sentAt: number
  since = 0
  startedAt = 0
  alongside = 0

  constructor(server: SimulatedServer, crowd: Crowd, sentAt: number) {
    super()
    this.server = server
    this.crowd = crowd
    this.sentAt = sentAt
  }

  start(): void {
    this.server.begin(this)
  }

  expire(): void {
    this.send()
  }

  send(): void {
    this.server.answer(this, 'refused')
  }
}

const TICK = 4

/**
 * A loop as Node's, in simulated time: each turn takes all that has arrived and all queries that are done, one after the
 * other, and whatever else happens meanwhile waits for the next turn. Connections get their next query in a turn as well.
 */
export class SimulatedServer {
  now = 0
  readonly outcomes: Record<Priority, Outcome>
  readonly admission: Admission
  readonly #refusals: Refusals
  readonly #costs: Costs
  readonly #meter: LatencyMeter
  readonly #arrivals: Job[] = []
  readonly #pool: Job[] = []
  readonly #queries: { job: Job; endsAt: number }[] = []
  #idled = 0
  #tickAt = TICK

  constructor(costs: Costs, settings: AdmissionSettings & { refusalDelay: number }) {
    this.#costs = costs
    this.admission = new Admission(settings)
    this.#meter = settings.limiter.meter()
    this.outcomes = Object.fromEntries(
      Object.keys(settings.shares).map(priority => [priority, { served: [], refused: [] }])
    ) as unknown as Record<Priority, Outcome>
    this.#refusals = new Refusals({
      delay: settings.refusalDelay,
      longest: 1_000,
      max: 10_000,
      clock: () => this.now,
      idled: () => this.#idled
    })
  }

  /** Lets a crowd in at once. */
  join(crowd: Crowd): void {
    for (let client = 0; client < crowd.clients; client++) this.#arrivals.push(new Job(this, crowd, this.now))
  }

  run(milliseconds: number): void {
    const until = this.now + milliseconds
    while (this.now < until) {
      this.#sleep(until)
      this.#turn()
    }
  }

  /** Forgets what has been seen so far. */
  reset(): void {
    for (const outcome of Object.values(this.outcomes)) Object.assign(outcome, { served: [], refused: [] })
  }

  begin(job: Job): void {
    this.now += this.#costs.work / 2
    job.startedAt = this.now
    job.alongside = this.admission.inFlight
    this.#pool.push(job)
    this.#serveQueries()
  }

  answer(job: Job, kind: keyof Outcome): void {
    if (kind === 'refused') this.now += this.#costs.refusal
    this.outcomes[job.crowd.priority][kind].push(this.now - job.sentAt)
    this.#arrivals.push(new Job(this, job.crowd, this.now + (job.crowd.pause ?? 0)))
  }

  get waitingForConnection(): number {
    return this.#pool.length
  }

  #sleep(until: number): void {
    const next = Math.min(
      until,
      this.#tickAt,
      ...this.#arrivals.slice(0, 1).map(job => job.sentAt),
      ...this.#queries.map(query => query.endsAt)
    )
    if (next <= this.now) return
    this.#idled += next - this.now
    this.now = next
  }

  #turn(): void {
    if (this.now >= this.#tickAt) {
      this.admission.expire(this.now)
      this.#refusals.release()
      this.#tickAt = this.now + TICK
    }
    const turnBegan = this.now
    for (const query of this.#queries.filter(({ endsAt }) => endsAt <= turnBegan)) {
      this.#queries.splice(this.#queries.indexOf(query), 1)
      this.#serveQueries()
      this.#finish(query.job)
    }
    this.#arrivals.sort((a, b) => a.sentAt - b.sentAt)
    const arrived = this.#arrivals.findIndex(job => job.sentAt > turnBegan)
    for (const job of this.#arrivals.splice(0, arrived < 0 ? this.#arrivals.length : arrived)) this.#arrive(job)
  }

  #arrive(job: Job): void {
    this.now += this.#costs.arrival
    job.since = this.now
    const lane = this.#laneOf(job)
    if (this.admission.enter(lane)) this.begin(job)
    else if (this.admission.hasRoom(lane, this.now)) this.admission.wait(lane, job)
    else if (this.#refusals.hasRoom) this.#refusals.keep(job)
    else job.send()
  }

  #finish(job: Job): void {
    this.now += this.#costs.work / 2
    const latency = this.now - job.startedAt
    this.admission.took(latency)
    this.#meter.took(latency, job.alongside, this.now)
    this.answer(job, 'served')
    this.admission.leave(this.#laneOf(job), this.now)
  }

  #serveQueries(): void {
    while (this.#queries.length < this.#costs.connections && this.#pool.length > 0)
      this.#queries.push({ job: this.#pool.shift()!, endsAt: this.now + this.#costs.query(this.now) })
  }

  #laneOf(job: Job): Lane {
    return this.admission.lanes[job.crowd.priority]
  }
}
