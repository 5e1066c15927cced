import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { QueueEntry } from '../../plugins/lib/linked-queue.ts'
import { Admission } from '../../plugins/pressure/admission.ts'
import type { Flow, Priority, Turn, Waiter } from '../../plugins/pressure/flow.ts'
import { type ConcurrencyLimiter, GradientLimiter, unmetered } from '../../plugins/pressure/limiter.ts'
import { type Refusal, Refusals } from '../../plugins/pressure/refusals.ts'
import { type Costs, type Handler, SimulatedServer } from '../support/simulated-server.ts'
import { thoroughly } from '../support/thorough.ts'

const shares: Record<Priority, number> = { operator: 0.2, webhook: 0.2, normal: 0.4, bulk: 0.1 }
const fixed = (limit: number): ConcurrencyLimiter => ({ limit, meter: () => unmetered })
const boundless = fixed(Number.POSITIVE_INFINITY)

class Waiting extends QueueEntry implements Waiter {
  readonly since: number
  readonly done: string[]
  readonly name: string
  readonly flow: Flow
  readonly sender: string
  turn: Turn | null = null
  onStart = () => {}

  constructor(flow: Flow, done: string[], name: string, since = 0, sender = 'anyone') {
    super()
    this.flow = flow
    this.sender = sender
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

/** An {@link Admission} with one route for each priority, all of whose requests cost the same. */
function admissionOf(limit: number, settings: object = {}) {
  const admission = new Admission({ limiter: fixed(limit), shares, maxWait: 100, maxWaiting: 10, ...settings })
  const flows = Object.fromEntries(Object.keys(shares).map(name => [name, admission.flow(name as Priority)])) as Record<
    Priority,
    Flow
  >
  const done: string[] = []
  const enter = (flow: Flow) => {
    if (!admission.isOpen(flow)) return false
    admission.enter(flow)
    return true
  }
  const startAll = (now: number) => {
    while (admission.startNext(now));
  }
  const leave = (flow: Flow, now: number) => {
    admission.leave(flow, flow.cost)
    startAll(now)
  }
  const wait = (flow: Flow, name: string, since = 0, sender?: string) => {
    const waiting = new Waiting(flow, done, name, since, sender)
    admission.wait(flow, waiting)
    return waiting
  }
  return { admission, flows, done, enter, leave, wait, startAll }
}

test('requests up to the limit start immediately, and the others in order of arrival', () => {
  const { admission, flows, done, enter, leave, wait } = admissionOf(2)
  assert.deepEqual([enter(flows.normal), enter(flows.normal), enter(flows.normal)], [true, true, false])
  for (const name of ['first', 'second']) wait(flows.normal, name)
  leave(flows.normal, 1)
  assert.deepEqual(done, ['first'])
  leave(flows.normal, 2)
  assert.deepEqual(done, ['first', 'second'])
  assert.equal(admission.inFlight, 2)
  assert.equal(admission.waiting, 0)
})

test('a new request does not overtake waiting ones of its priority', () => {
  const { flows, enter, wait, startAll, done } = admissionOf(2)
  wait(flows.normal, 'first')
  assert.equal(enter(flows.normal), false, 'though nothing is in flight')
  assert.equal(enter(flows.operator), true)
  startAll(1)
  assert.deepEqual(done, ['first'])
})

test('a webhook may wait longer than others, because its sender may not retry', () => {
  const { admission, flows, done, enter, wait } = admissionOf(1, { maxWebhookWait: 3_000 })
  assert.deepEqual([enter(flows.normal), enter(flows.webhook)], [true, true])
  admission.took(90, 1)
  for (const flow of [flows.webhook, flows.normal])
    for (const count of [1, 2]) wait(flow, `${flow.lane.priority} ${count}`)
  assert.deepEqual([admission.hasRoom(flows.webhook, 1), admission.hasRoom(flows.normal, 1)], [true, false])
  admission.expire(101)
  assert.deepEqual(done, ['normal 1 expired', 'normal 2 expired'])
  admission.expire(3_001)
  assert.deepEqual(done.slice(2), ['webhook 1 expired', 'webhook 2 expired'])
})

test('a priority within its share starts even if others have taken the whole limit', () => {
  const { flows, enter } = admissionOf(10)
  for (let count = 0; count < 10; count++) assert.equal(enter(flows.normal), true)
  assert.equal(enter(flows.normal), false)
  assert.deepEqual([enter(flows.operator), enter(flows.operator)], [true, true])
  assert.equal(enter(flows.operator), false, 'its share is a fifth of ten')
  assert.equal(enter(flows.bulk), true)
  assert.equal(enter(flows.bulk), false)
})

test('beyond the shares, higher priorities go first, and nobody starves', () => {
  const { flows, done, enter, leave, wait } = admissionOf(10)
  for (let count = 0; count < 10; count++) enter(flows.normal)
  enter(flows.operator)
  enter(flows.operator)
  wait(flows.normal, 'normal')
  wait(flows.operator, 'operator')
  enter(flows.bulk)
  wait(flows.bulk, 'bulk')
  for (let count = 0; count < 4; count++) leave(flows.normal, 1)
  assert.deepEqual(done, ['operator'], 'the limit is reached until four have left')
  leave(flows.bulk, 2)
  assert.deepEqual(done, ['operator', 'bulk'], 'what has nothing of its share under way goes before all')
  leave(flows.normal, 3)
  assert.deepEqual(done, ['operator', 'bulk', 'normal'])
})

test('requests that waited too long, or whose client left, are never started', () => {
  const { admission, flows, done, enter, leave, wait } = admissionOf(1)
  enter(flows.normal)
  wait(flows.normal, 'old', 0)
  const gone = wait(flows.normal, 'gone', 50)
  wait(flows.normal, 'last', 90)
  admission.abandon(flows.normal, gone)
  admission.abandon(flows.normal, gone)
  admission.expire(101)
  assert.deepEqual(done, ['old expired'])
  leave(flows.normal, 102)
  assert.deepEqual(done, ['old expired', 'last'])
  assert.equal(admission.waiting, 0)
})

test('only requests that can be served in time at the current pace are queued', () => {
  const { admission, flows, enter, wait } = admissionOf(2, { maxWaiting: 1_000 })
  enter(flows.normal)
  enter(flows.normal)
  admission.took(10, 1) // two at once take 10 ms each: 85 ms are good for 17
  let joined = 0
  for (; admission.hasRoom(flows.normal, 0) && joined < 1_000; joined++) wait(flows.normal, 'one')
  assert.equal(joined, 18)
  assert.equal(admission.hasRoom(flows.operator, 0), true, 'every priority has a line of its own')
})

test('no request joins a queue that does not move', () => {
  const { admission, flows, enter, wait } = admissionOf(1)
  enter(flows.normal)
  admission.took(1, 1)
  wait(flows.normal, 'stuck')
  assert.equal(admission.hasRoom(flows.normal, 80), true)
  assert.equal(admission.hasRoom(flows.normal, 90), false)
})

test('a queue of expensive requests does not cause a cheap one to be refused', () => {
  const { admission, flows, enter, wait } = admissionOf(1, { maxWaiting: 1_000 })
  const { normal: expensive } = flows
  const cheap = admission.flow('normal')
  expensive.learn(10)
  cheap.learn(0.1)
  enter(expensive)
  admission.took(10, expensive.cost)
  while (admission.hasRoom(expensive, 0)) wait(expensive, 'expensive')
  assert.equal(admission.hasRoom(cheap, 0), true)
})

test('two routes that could each fill the server get half of the CPU each', () => {
  const { admission, flows, enter, wait, done } = admissionOf(1, { maxWaiting: 10_000 })
  const { normal: expensive } = flows
  const cheap = admission.flow('normal')
  expensive.learn(10)
  cheap.learn(1)
  enter(expensive)
  for (let count = 0; count < 200; count++) wait(expensive, 'expensive')
  for (let count = 0; count < 200; count++) wait(cheap, 'cheap')
  let running = expensive
  for (let count = 0; count < 110; count++) {
    admission.leave(running, running.cost)
    admission.startNext(count)
    running = done.at(-1) === 'cheap' ? cheap : expensive
  }
  const started = done.filter(name => name === 'cheap').length
  assert.ok(started >= 95 && started <= 105, `${started} of 110 are cheap`)
})

test('a sender with many requests does not delay one with few', () => {
  const { flows, enter, leave, wait, done } = admissionOf(1, { maxWaiting: 100 })
  enter(flows.normal)
  for (let count = 0; count < 50; count++) wait(flows.normal, 'many', 0, 'greedy')
  for (const name of ['few 1', 'few 2']) wait(flows.normal, name, 0, 'modest')
  for (let count = 0; count < 4; count++) leave(flows.normal, 1)
  assert.deepEqual(done, ['many', 'few 1', 'many', 'few 2'])
})

test('the CPU in flight follows the work limit, but is never zero', () => {
  let reached = 0
  const { flows, enter, leave } = admissionOf(100, { work: { limit: 8, reached: () => reached++ } })
  flows.normal.learn(3)
  for (const expected of [true, true, true, false]) assert.equal(enter(flows.normal), expected)
  assert.equal(reached, 1)
  for (let count = 0; count < 3; count++) leave(flows.normal, 1)
  flows.bulk.learn(500)
  assert.equal(enter(flows.bulk), true, 'what costs more than the limit is started when nothing else is in flight')
  assert.equal(enter(flows.bulk), false)
})

test('refusals are sent after their delay, within their time budget', () => {
  let now = 0
  let sent = 0
  class Kept extends QueueEntry implements Refusal {
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
  assert.ok(sent > 80 && sent < 160, `${sent} in 240 ms; their share is a tenth`)
  now = 501
  refusals.release()
  assert.equal(sent, 300, 'but in the end all of them')
})

/** Created for each test, so that a failure can be reproduced. */
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

function serverOf(costs: Partial<Costs> = {}, given?: ConcurrencyLimiter, turnBudget = 8, limits: object = {}) {
  const limiter =
    given ??
    new GradientLimiter({
      ...{ min: 8, max: 1_000, initial: 32, tolerance: 2, ...limits },
      backlog: () => server.waitingForConnection
    })
  const server: SimulatedServer = new SimulatedServer(
    { arrival: 0.015, work: 0.2, refusal: 0.02, query: exponential(0.4), connections: 10, ...costs },
    { limiter, shares, maxWait: 240, maxWaiting: 1_000, refusalDelay: 35, turnBudget }
  )
  return { server, limiter }
}

/** Requests per second, and the latency that 99 of 100 of them do not exceed. */
function figures(latencies: readonly number[], milliseconds: number) {
  const sorted = latencies.toSorted((a, b) => a - b)
  return { rate: (sorted.length / milliseconds) * 1_000, p99: sorted[Math.floor(sorted.length * 0.99)] ?? 0 }
}

function crowd(clients: number, costs: Partial<Costs> = {}, limiter?: ConcurrencyLimiter, time = 4_000) {
  const { server, limiter: used } = serverOf(costs, limiter, limiter === boundless ? Number.POSITIVE_INFINITY : 8)
  server.join({ priority: 'normal', clients })
  server.run(1_500)
  server.reset()
  server.run(time)
  const { served, refused } = server.outcomes.normal
  return { served: figures(served, time), refused: figures(refused, time), limit: used.limit, server }
}

test('throughput and latency do not depend on the number of clients', () => {
  const peak = crowd(32, {}, boundless).served.rate
  for (const clients of [100, 500, 1_000, 2_000]) {
    const { served } = crowd(clients)
    assert.ok(served.rate > 0.88 * peak, `${clients} clients: ${served.rate} of ${peak}`)
    assert.ok(served.p99 < 250, `${clients} clients: ${served.p99} ms`)
  }
})

test('refusals as cheap as a bare reply are usually sent within 50 ms', () => {
  const costs = { arrival: 0.005, refusal: 0.005 }
  const { server } = crowd(1_300, costs)
  const latencies = server.outcomes.normal.refused.toSorted((a, b) => a - b)
  assert.ok(latencies.length > 0)
  assert.ok(latencies[Math.floor(latencies.length / 2)]! < 50)
})

test('the limit converges to the point where more concurrency would only wait, on any server', () => {
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

test('every priority gets its share of an overloaded server', () => {
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

test('a few operators are not affected by a crowd of others', () => {
  const { server } = serverOf()
  server.join({ priority: 'normal', clients: 1_000 })
  server.join({ priority: 'operator', clients: 2, pause: 20 })
  server.run(4_000)
  assert.equal(server.outcomes.operator.refused.length, 0)
  assert.ok(figures(server.outcomes.operator.served, 4_000).p99 < 50)
})

test('a slow database gets no more work than it can handle, and the limit recovers with it', () => {
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

test('a mix of fast and slow routes does not count as congestion', () => {
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

/** Milliseconds of CPU and of waiting: those that compute before they wait, after it, and without. */
const handlers = {
  'computes first': { before: 2, wait: 2, after: 0 },
  'waits first': { before: 0, wait: 2, after: 2 },
  'only computes': { before: 2, wait: 0, after: 0 },
  'computes little': { before: 0, wait: 2, after: 0.5 },
  'computes long': { before: 10, wait: 2, after: 0 }
}
const cpuOf = ({ before, after }: Handler) => before + after

const health = ({ probes }: SimulatedServer) => probes.toSorted((a, b) => a - b)[Math.floor(probes.length * 0.95)]!

/** An open loop over 500 connections, at a multiple of the capacity. */
function overload(handler: Handler, times: number, turnBudget?: number) {
  const { server } = serverOf({}, undefined, turnBudget, { min: 32, initial: 96, tolerance: 3 })
  const peak = 1_000 / (cpuOf(handler) + 0.015)
  server.join({ priority: 'normal', clients: 500, rate: times * peak, handler })
  server.run(2_000)
  server.reset()
  server.run(4_000)
  const served = figures(server.outcomes.normal.served, 4_000)
  return { server, share: served.rate / peak, p99: served.p99, health: health(server) }
}

for (const [what, handler] of Object.entries(handlers))
  test(`a handler that ${what} keeps probes answered and peak throughput, at any load`, () => {
    for (const [times, goal] of [
      [1.25, 0.9],
      [2, 0.9],
      [5, 0.85],
      [10, 0.8]
    ] as const) {
      const { share, p99, health } = overload(handler, times)
      // At ten times the peak of cheap handlers, refusals need more than a fifth of the time: see docs/decisions/0009.
      const refusals = ((times - 1) * 0.035) / cpuOf(handler)
      assert.ok(share >= Math.min(goal, 1 - refusals) - 0.02, `${times} times: ${share} of the peak`)
      assert.ok(health < (cpuOf(handler) >= 10 ? 80 : 50), `${times} times: probes wait ${health} ms`)
      assert.ok(p99 < 300, `${times} times: ${p99} ms`)
    }
  })

test('without a turn budget, many CPU-bound handlers delay the probes', () => {
  const { health } = overload(handlers['computes first'], 5, Number.POSITIVE_INFINITY)
  assert.ok(health > 100, `${health} ms`)
})

test('one kind of expensive request does not push out ten times as many cheap ones', () => {
  const { server } = serverOf()
  const cheap = server.join({
    priority: 'normal',
    clients: 200,
    rate: 1_000,
    handler: { before: 0, wait: 2, after: 0.2 }
  })
  const expensive = server.join({
    priority: 'normal',
    clients: 300,
    rate: 1_000,
    handler: { before: 0, wait: 2, after: 10 }
  })
  server.run(3_000)
  server.reset(cheap, expensive)
  server.run(4_000)
  assert.ok(figures(cheap.served, 4_000).rate > 950, `${figures(cheap.served, 4_000).rate} of 1,000`)
  assert.ok(figures(cheap.served, 4_000).p99 < 100, `${figures(cheap.served, 4_000).p99} ms`)
  assert.ok(figures(expensive.served, 4_000).rate > 55, `${figures(expensive.served, 4_000).rate} of the 75 left`)
})

test('a handler with long waits gets the concurrency that it needs to fill the CPU', () => {
  const { server } = serverOf({}, fixed(1_000))
  const handler = { before: 0.2, wait: exponential(200), after: 0.3 }
  const { served } = server.join({ priority: 'normal', clients: 600, handler })
  server.run(4_000)
  served.length = 0
  server.run(2_000)
  assert.ok(served.length / 2 > 1_500, `${served.length / 2} per second of the 1,900 that there is CPU for`)
})

test('the state before a crowd is restored within three seconds, and after an idle hour', () => {
  const { server } = serverOf({}, undefined, 8, { min: 32, initial: 96, tolerance: 3 })
  const handler = handlers['waits first']
  const few = () => {
    const calm = server.join({ priority: 'normal', clients: 50, rate: 200, handler })
    server.run(2_000)
    server.disperse()
    server.run(500)
    return figures(calm.served, 2_000)
  }
  const usual = few()
  for (const pause of [3_000, 3_600_000]) {
    server.join({ priority: 'normal', clients: 500, rate: 2_500, handler })
    server.run(3_000)
    server.disperse()
    server.run(pause)
    const after = few()
    assert.ok(after.rate > 0.95 * usual.rate && after.p99 < 2 * usual.p99, JSON.stringify({ usual, after }))
  }
})
