import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Admission, type Priority, type Waiter } from '../../plugins/pressure/admission.ts'
import { type ConcurrencyLimiter, GradientLimiter, unmetered } from '../../plugins/pressure/limiter.ts'
import { Place } from '../../plugins/pressure/line.ts'
import { type Refusal, Refusals } from '../../plugins/pressure/refusals.ts'
import { type Costs, SimulatedServer } from '../support/simulated-server.ts'
import { thoroughly } from '../support/thorough.ts'

const shares: Record<Priority, number> = { operator: 0.2, webhook: 0.2, normal: 0.4, bulk: 0.1 }
const fixed = (limit: number): ConcurrencyLimiter => ({ limit, meter: () => unmetered })
const boundless = fixed(Number.POSITIVE_INFINITY)

class Waiting extends Place implements Waiter {
  readonly since: number
  readonly done: string[]
  readonly name: string
  onStart = () => {}

  constructor(done: string[], name: string, since = 0) {
    super()
    this.done = done
    this.name = name
    this.since = since
  }

  start() {
    this.done.push(this.name)
    this.onStart()
  }

  expire() {
    this.done.push(`${this.name} expired`)
  }
}

function admissionOf(limit: number, settings: object = {}) {
  const admission = new Admission({ limiter: fixed(limit), shares, maxWait: 100, maxWaiting: 10, ...settings })
  return { admission, lanes: admission.lanes, done: [] as string[] }
}

test('as many as the limit start at once, and the others in the order in which they came', () => {
  const { admission, lanes, done } = admissionOf(2)
  assert.equal(admission.enter(lanes.normal), true)
  assert.equal(admission.enter(lanes.normal), true)
  assert.equal(admission.enter(lanes.normal), false)
  for (const name of ['first', 'second']) admission.wait(lanes.normal, new Waiting(done, name))
  admission.leave(lanes.normal, 1)
  assert.deepEqual(done, ['first'])
  admission.leave(lanes.normal, 2)
  assert.deepEqual(done, ['first', 'second'])
  assert.equal(admission.inFlight, 2)
  assert.equal(admission.waiting, 0)
})

test('a webhook may wait longer than others: its sender may never ask again', () => {
  const { admission, lanes, done } = admissionOf(1, { maxWebhookWait: 3_000 })
  assert.deepEqual([admission.enter(lanes.normal), admission.enter(lanes.webhook)], [true, true])
  admission.took(90)
  for (const lane of [lanes.webhook, lanes.normal]) {
    admission.wait(lane, new Waiting(done, `${lane.priority} 1`))
    admission.wait(lane, new Waiting(done, `${lane.priority} 2`))
  }
  assert.deepEqual([admission.hasRoom(lanes.webhook, 1), admission.hasRoom(lanes.normal, 1)], [true, false])
  admission.expire(101)
  assert.deepEqual(done, ['normal 1 expired', 'normal 2 expired'])
  admission.expire(3_001)
  assert.deepEqual(done.slice(2), ['webhook 1 expired', 'webhook 2 expired'])
})

test('a priority within its share starts though others have taken the whole limit', () => {
  const { admission, lanes } = admissionOf(10)
  for (let count = 0; count < 10; count++) assert.equal(admission.enter(lanes.normal), true)
  assert.equal(admission.enter(lanes.normal), false)
  assert.deepEqual([admission.enter(lanes.operator), admission.enter(lanes.operator)], [true, true])
  assert.equal(admission.enter(lanes.operator), false, 'its share is a fifth of ten')
  assert.equal(admission.enter(lanes.bulk), true)
  assert.equal(admission.enter(lanes.bulk), false)
})

test('beyond the shares who matters most goes first, and nobody is passed over for ever', () => {
  const { admission, lanes, done } = admissionOf(10)
  for (let count = 0; count < 10; count++) admission.enter(lanes.normal)
  admission.enter(lanes.operator)
  admission.enter(lanes.operator)
  admission.wait(lanes.normal, new Waiting(done, 'normal'))
  admission.wait(lanes.operator, new Waiting(done, 'operator'))
  admission.enter(lanes.bulk)
  admission.wait(lanes.bulk, new Waiting(done, 'bulk'))
  for (let count = 0; count < 4; count++) admission.leave(lanes.normal, 1)
  assert.deepEqual(done, ['operator'], 'the limit is reached until four have left')
  admission.leave(lanes.bulk, 2)
  assert.deepEqual(done, ['operator', 'bulk'], 'what has nothing of its share under way goes before all')
  admission.leave(lanes.normal, 3)
  assert.deepEqual(done, ['operator', 'bulk', 'normal'])
})

test('who has waited too long, or has left, is never started', () => {
  const { admission, lanes, done } = admissionOf(1)
  admission.enter(lanes.normal)
  const gone = new Waiting(done, 'gone', 50)
  admission.wait(lanes.normal, new Waiting(done, 'old', 0))
  admission.wait(lanes.normal, gone)
  admission.wait(lanes.normal, new Waiting(done, 'last', 90))
  admission.abandon(lanes.normal, gone)
  admission.abandon(lanes.normal, gone)
  admission.expire(101)
  assert.deepEqual(done, ['old expired'])
  admission.leave(lanes.normal, 102)
  assert.deepEqual(done, ['old expired', 'last'])
  assert.equal(admission.waiting, 0)
})

test('only those stand in line who can be served in time at the pace of the others', () => {
  const { admission, lanes, done } = admissionOf(2, { maxWaiting: 1_000 })
  admission.enter(lanes.normal)
  admission.enter(lanes.normal)
  admission.took(10) // two at once take 10 ms each: 85 ms are good for 17
  let joined = 0
  for (; admission.hasRoom(lanes.normal, 0) && joined < 1_000; joined++)
    admission.wait(lanes.normal, new Waiting(done, 'one', 0))
  assert.equal(joined, 18)
  assert.equal(admission.hasRoom(lanes.operator, 0), true, 'every priority has a line of its own')
})

test('nobody joins a line that does not move', () => {
  const { admission, lanes, done } = admissionOf(1)
  admission.enter(lanes.normal)
  admission.took(1)
  admission.wait(lanes.normal, new Waiting(done, 'stuck', 0))
  assert.equal(admission.hasRoom(lanes.normal, 80), true)
  assert.equal(admission.hasRoom(lanes.normal, 90), false)
})

test('requests that are done as soon as they start do not pile up on the stack', () => {
  const { admission, lanes, done } = admissionOf(1, { maxWaiting: 100_000 })
  admission.enter(lanes.normal)
  for (let count = 0; count < 50_000; count++) {
    const waiting = new Waiting(done, 'quick')
    waiting.onStart = () => admission.leave(lanes.normal, 1)
    admission.wait(lanes.normal, waiting)
  }
  admission.leave(lanes.normal, 1)
  assert.equal(done.length, 50_000)
  assert.equal(admission.inFlight, 0)
})

test('refusals go out after their delay, and no more of them than there is time for', () => {
  let now = 0
  let sent = 0
  class Kept extends Place implements Refusal {
    readonly since = now
    send() {
      sent++
      now += 0.1
    }
  }
  const refusals = new Refusals({ delay: 30, longest: 500, max: 300, clock: () => now, idled: () => 0 })
  for (let count = 0; count < 300; count++) {
    assert.equal(refusals.hasRoom, true)
    refusals.keep(new Kept())
  }
  assert.equal(refusals.hasRoom, false, 'nothing is kept without a bound')
  now = 29
  refusals.release()
  assert.equal(sent, 0)
  now = 30
  refusals.release()
  assert.ok(sent > 0 && sent < 40, `${sent} at once`)
  for (let tick = 0; tick < 40; tick++) {
    now += 5
    refusals.release()
  }
  assert.ok(sent > 80 && sent < 160, `${sent} in 240 ms, of which a tenth is theirs`)
  now = 501
  refusals.release()
  assert.equal(sent, 300, 'but in the end all of them')
})

/** Made anew for each test, so that a failure can be repeated. */
function random(seed: number) {
  let state = seed % 2147483647 || 1
  return () => {
    state = (state * 16807) % 2147483647
    return state / 2147483647
  }
}

const exponential = (mean: number, seed = 1) => {
  const next = random(seed)
  return () => -mean * Math.log(1 - next())
}

function serverOf(costs: Partial<Costs> = {}, given?: ConcurrencyLimiter, limits: object = {}) {
  const limiter =
    given ??
    new GradientLimiter({
      ...{ min: 8, max: 1_000, initial: 32, tolerance: 2, ...limits },
      backlog: () => server.waitingForConnection
    })
  const server: SimulatedServer = new SimulatedServer(
    { arrival: 0.015, work: 0.2, refusal: 0.02, query: exponential(0.4), connections: 10, ...costs },
    { limiter, shares, maxWait: 240, maxWaiting: 1_000, refusalDelay: 35 }
  )
  return { server, limiter }
}

/** Requests per second, and the latency that 99 of 100 of them do not exceed. */
function figures(latencies: readonly number[], milliseconds: number) {
  const sorted = latencies.toSorted((a, b) => a - b)
  return { rate: (sorted.length / milliseconds) * 1_000, p99: sorted[Math.floor(sorted.length * 0.99)] ?? 0 }
}

function crowd(clients: number, costs: Partial<Costs> = {}, limiter?: ConcurrencyLimiter, time = 4_000) {
  const { server, limiter: used } = serverOf(costs, limiter)
  server.join({ priority: 'normal', clients })
  server.run(1_500)
  server.reset()
  server.run(time)
  const { served, refused } = server.outcomes.normal
  return { served: figures(served, time), refused: figures(refused, time), limit: used.limit, server }
}

test('what is served, and how fast, does not depend on the size of the crowd', () => {
  const peak = crowd(32, {}, boundless).served.rate
  for (const clients of [100, 500, 1_000, 2_000]) {
    const { served } = crowd(clients)
    assert.ok(served.rate > 0.88 * peak, `${clients} clients: ${served.rate} of ${peak}`)
    assert.ok(served.p99 < 250, `${clients} clients: ${served.p99} ms`)
  }
})

test('refusals that cost as little as a bare reply go out within 50 ms, as a rule', () => {
  const costs = { arrival: 0.005, refusal: 0.005 }
  const { server } = crowd(1_000, costs)
  const latencies = server.outcomes.normal.refused.toSorted((a, b) => a - b)
  assert.ok(latencies.length > 0)
  assert.ok(latencies[Math.floor(latencies.length / 2)]! < 50)
})

test('the limit finds the place where more at once would only wait, whatever the server is like', () => {
  const server = fc.record({
    work: fc.double({ min: 0.05, max: 1, noNaN: true }),
    query: fc.double({ min: 0.1, max: 40, noNaN: true }),
    connections: fc.integer({ min: 8, max: 40 }),
    clients: fc.integer({ min: 100, max: 1_500 }),
    seed: fc.integer({ min: 1, max: 1_000 })
  })
  fc.assert(
    fc.property(server, ({ work, query, connections, clients, seed }) => {
      const costs = () => ({ work, connections, query: exponential(query, seed) })
      const peak = crowd(4 * connections, costs(), boundless, 3_000).served.rate
      const { served, limit } = crowd(clients, costs(), undefined, 3_000)
      assert.ok(served.rate > 0.75 * peak, `${served.rate} of ${peak}, limit ${limit}`)
      assert.ok(limit <= 4 * connections + 16, `limit ${limit}`)
    }),
    { numRuns: thoroughly(25, 250), seed: 7 }
  )
})

test('every priority gets its share of a server that all of them would fill', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1_000 }), fc.integer({ min: 50, max: 400 }), (seed, clients) => {
      const { server } = serverOf({ query: exponential(0.4, seed) })
      for (const priority of ['operator', 'webhook', 'normal', 'bulk'] as const) server.join({ priority, clients })
      server.run(1_000)
      server.reset()
      server.run(2_000)
      const served = Object.values(server.outcomes).reduce((sum, outcome) => sum + outcome.served.length, 0)
      for (const [priority, share] of Object.entries(shares))
        assert.ok(server.outcomes[priority as Priority].served.length > 0.7 * share * served, priority)
    }),
    { numRuns: thoroughly(10, 100), seed: 7 }
  )
})

test('few operators never notice a crowd of others', () => {
  const { server } = serverOf()
  server.join({ priority: 'normal', clients: 1_000 })
  server.join({ priority: 'operator', clients: 2, pause: 20 })
  server.run(4_000)
  assert.equal(server.outcomes.operator.refused.length, 0)
  assert.ok(figures(server.outcomes.operator.served, 4_000).p99 < 50)
})

test('a database that becomes slow is sent no more than it can do, and the limit comes back with it', () => {
  let slowdown = 1
  const next = exponential(0.4)
  const { server, limiter } = serverOf({ query: () => slowdown * next() })
  server.join({ priority: 'normal', clients: 100 })
  server.run(2_000)
  const before = limiter.limit

  slowdown = 100
  server.run(2_000)
  assert.ok(server.waitingForConnection <= 10, `${server.waitingForConnection} wait for a connection`)
  server.reset()
  server.run(4_000)
  const slow = figures(server.outcomes.normal.served, 4_000).rate
  assert.ok(slow > 0.7 * 250, `${slow} of the 250 per second that it can do`)

  slowdown = 1
  server.run(3_000)
  server.reset()
  server.run(1_000)
  assert.ok(figures(server.outcomes.normal.served, 1_000).rate > 3_500)
  assert.ok(limiter.limit > before / 2 && limiter.limit < before * 3, `${before}, then ${limiter.limit}`)
})

test('a lone slow request does not move the limit', () => {
  const { server, limiter } = serverOf()
  server.join({ priority: 'normal', clients: 1, pause: 5 })
  server.run(2_000)
  const meter = limiter.meter()
  for (let count = 0; count < 20; count++) meter.took(5_000, 1, server.now + count * 200)
  assert.equal(limiter.limit, 32)
})

test('a mix of quick and slow routes is no congestion', () => {
  const limiter = new GradientLimiter({ min: 8, max: 100, initial: 32, tolerance: 2, backlog: () => 0 })
  const quick = limiter.meter()
  const slow = limiter.meter()
  for (let now = 0; now < 1_000; now += 5) {
    quick.took(1, 2, now)
    slow.took(80, 2, now)
  }
  for (let now = 1_000; now < 6_000; now += 5)
    (now % 1_000 < 500 ? quick : slow).took(now % 1_000 < 500 ? 1 : 80, 20, now)
  assert.ok(limiter.limit >= 32, String(limiter.limit))
  for (let now = 6_000; now < 8_000; now += 5) quick.took(10, 20, now)
  assert.ok(limiter.limit < 20, `${limiter.limit} after what is quick took ten times as long`)
})
