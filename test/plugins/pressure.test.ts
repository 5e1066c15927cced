import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { getHeapStatistics } from 'node:v8'
import { Registry } from '@platformatic/prom-client'
import Fastify from 'fastify'
import { PressureGauge, type PressureLimits, type PressureReading } from '../../plugins/pressure/gauge.ts'
import pressure from '../../plugins/pressure/index.ts'
import { eventually } from '../support/eventually.ts'
import { stays } from '../support/stays.ts'

const CALM: PressureReading = { eventLoopDelay: 1, eventLoopUtilization: 0.2, heapUsed: 1e7, rss: 1e8 }
const BUSY: PressureReading = { ...CALM, eventLoopDelay: 25, eventLoopUtilization: 1 }
const late = (eventLoopDelay: number): PressureReading => ({ ...BUSY, eventLoopDelay })

const LIMITS: PressureLimits = {
  eventLoopDelay: [80, 160, 320],
  minUtilization: 0.7,
  heapUsed: [1e9, 2e9, 3e9],
  rss: [1e9, 2e9, 3e9],
  riseAfter: 2,
  sustainIn: 5_000,
  sustainOut: 10_000
}

/** Feeds a gauge readings that are `step` milliseconds apart. */
function gaugeOver(limits: Partial<PressureLimits> = {}, step = 250) {
  const gauge = new PressureGauge({ ...LIMITS, ...limits })
  let now = 0
  const feed = (reading: PressureReading, times = 1) => {
    for (let i = 0; i < times; i++) {
      now += step
      gauge.take(reading, now)
    }
    return gauge.level
  }
  return { gauge, feed }
}

test('a busy server is not under pressure', () => {
  const { gauge, feed } = gaugeOver()
  assert.equal(feed(BUSY, 1000), 0)
  assert.equal(gauge.sustained, false)
})

test('an idle server with late timers is not under pressure', () => {
  assert.equal(gaugeOver().feed({ ...CALM, eventLoopDelay: 5_000 }, 100), 0)
})

test('a single long stall does not raise the level, sustained pressure does', () => {
  const { feed } = gaugeOver()
  assert.equal(feed(late(900)), 0)
  assert.equal(feed(BUSY), 0)
  assert.equal(feed(late(900)), 0)
  assert.equal(feed(late(900)), 3)
})

test('the levels follow the steps', () => {
  for (const [delay, level] of [
    [79, 0],
    [80, 1],
    [160, 2],
    [320, 3]
  ] as const)
    assert.equal(gaugeOver().feed(late(delay), 2), level, `${delay} ms`)
})

test('between two steps a growing share of a priority is refused, and lower priorities completely', () => {
  for (const [delay, parts] of [
    [72, [0.5, 0, 0]],
    [80, [1, 0, 0]],
    [120, [1, 0.5, 0]],
    [240, [1, 1, 0.5]],
    [500, [1, 1, 1]]
  ] as const) {
    const { gauge, feed } = gaugeOver()
    feed(late(delay), 2)
    assert.deepEqual(
      [1, 2, 3].map(level => gauge.refusedFrom(level)),
      parts,
      `${delay} ms`
    )
  }
})

test('past pressure is halved with each reading, and does not keep refusing everything', () => {
  const { gauge, feed } = gaugeOver()
  feed(late(900), 2)
  assert.equal(gauge.refusedFrom(2), 1)
  feed(BUSY, 1)
  assert.equal(gauge.refusedFrom(3), 0)
  assert.equal(gauge.refusedFrom(2), 0.5)
  assert.equal(feed(BUSY, 1), 0)
  feed(BUSY, 4)
  assert.equal(gauge.severity, 0)
})

test('the heap and resident memory count regardless of the event loop', () => {
  for (const [reading, reason] of [
    [{ ...CALM, heapUsed: 2.5e9 }, 'heap'],
    [{ ...CALM, rss: 2.5e9 }, 'rss']
  ] as const) {
    const { gauge, feed } = gaugeOver()
    assert.equal(feed(reading, 2), 2)
    assert.equal(gauge.reason, reason)
  }
})

test('a delay that is NaN neither starts nor continues shedding', () => {
  for (const nothing of [Number.NaN, Number.POSITIVE_INFINITY]) {
    const { feed } = gaugeOver()
    assert.equal(feed(late(nothing), 100), 0)
    feed(late(900), 2)
    assert.equal(feed(late(nothing), 4), 0)
  }
})

test('pressure is sustained after five seconds of it, and until ten seconds of calm', () => {
  const { gauge, feed } = gaugeOver()
  feed(late(900), 2)
  feed(late(900), 19)
  assert.equal(gauge.sustained, false)
  feed(late(900), 1)
  assert.equal(gauge.sustained, true)
  feed(CALM, 2 + 39)
  assert.equal(gauge.level, 0)
  assert.equal(gauge.sustained, true)
  feed(CALM, 1)
  assert.equal(gauge.sustained, false)
})

test('bursts that pass are never sustained', () => {
  const { gauge, feed } = gaugeOver()
  for (let i = 0; i < 20; i++) {
    feed(late(900), 12)
    feed(CALM, 8)
    assert.equal(gauge.sustained, false)
  }
})

async function server(t: TestContext, options: object = {}) {
  const reading = { now: CALM as PressureReading }
  const app = Fastify()
  await app.register(pressure, { sensor: { sample: () => reading.now }, sampleInterval: 10, ...options })
  app.get('/normal', async () => 'served')
  for (const priority of ['probe', 'operator', 'webhook', 'bulk'] as const)
    app.get(`/${priority}`, { config: { priority } }, async () => 'served')
  t.after(() => app.close())

  const until = (level: number) =>
    eventually(
      () => app.pressure.level,
      reached => reached === level
    )
  const served = async () => {
    const urls = ['/bulk', '/normal', '/nowhere', '/webhook', '/operator', '/probe']
    const replies = await Promise.all(urls.map(url => app.inject(url)))
    return urls.filter((_url, index) => replies[index]!.statusCode !== 503)
  }
  return { app, reading, until, served }
}

test('without pressure everyone is served', async t => {
  const { app, served } = await server(t)
  assert.equal((await served()).length, 6)
  assert.equal(app.pressure.level, 0)
  assert.equal(app.pressure.sustained, false)
})

test('the lowest priority is refused first, and probes never', async t => {
  const { reading, until, served } = await server(t)
  for (const [delay, level, expected] of [
    [80, 1, ['/normal', '/nowhere', '/webhook', '/operator', '/probe']],
    [160, 2, ['/webhook', '/operator', '/probe']],
    [900, 3, ['/probe']]
  ] as const) {
    reading.now = late(delay)
    await until(level)
    assert.deepEqual(await served(), expected)
  }
  reading.now = CALM
  await eventually(served, ({ length }) => length === 6)
})

test('a refusal has a Retry-After with jitter', async t => {
  const { app, reading, until } = await server(t)
  reading.now = late(900)
  await until(3)
  const waits = new Set<unknown>()
  for (let i = 0; i < 60; i++) {
    const reply = await app.inject('/normal')
    assert.equal(reply.statusCode, 503)
    assert.equal(reply.json().code, 'SERVICE_UNAVAILABLE')
    waits.add(reply.headers['retry-after'])
  }
  assert.deepEqual([...waits].sort(), ['1', '2', '3'])
})

test('refusals are counted by reason and priority, and the level is a metric', async t => {
  const registry = new Registry()
  const { app, reading, until } = await server(t, { registry })
  reading.now = { ...CALM, heapUsed: getHeapStatistics().heap_size_limit }
  await until(3)
  await app.inject('/normal')
  await app.inject('/bulk')
  await app.inject('/bulk')
  const text = await registry.metrics()
  assert.match(text, /^rhone_shed_total\{reason="heap",priority="normal"\} 1$/m)
  assert.match(text, /^rhone_shed_total\{reason="heap",priority="bulk"\} 2$/m)
  assert.match(text, /^rhone_pressure_level 3$/m)
})

test('resident memory counts once the memory of the machine is known', async t => {
  const { reading, until } = await server(t, { memoryLimit: 1e9 })
  reading.now = { ...CALM, rss: 0.93e9 }
  await until(2)
})

test('a real busy loop is noticed after idle time, probes are answered, and it is over soon after', async t => {
  const app = Fastify()
  await app.register(pressure, { sampleInterval: 50 })
  app.get('/normal', async () => 'served')
  app.get('/probe', { config: { priority: 'probe' } }, async () => 'served')
  t.after(() => app.close())
  const before = performance.eventLoopUtilization()
  await eventually(() => performance.eventLoopUtilization(before).idle > 400)
  assert.equal((await app.inject('/normal')).statusCode, 200)

  for (const block of [200, 600]) {
    for (let blocks = 0; app.pressure.level < 2; blocks++) {
      assert.ok(blocks < 25, `blocks of ${block} ms were not noticed`)
      const until = performance.now() + block
      while (performance.now() < until);
      await new Promise(setImmediate)
    }
    assert.equal((await app.inject('/normal')).statusCode, 503)
    assert.equal((await app.inject('/probe')).statusCode, 200)

    await eventually(
      () => app.pressure.level,
      level => level === 0
    )
    await eventually(
      () => app.inject('/normal'),
      ({ statusCode }) => statusCode === 200
    )
  }
})

test('closing stops the readings', async () => {
  let readings = 0
  const app = Fastify()
  await app.register(pressure, {
    sampleInterval: 10,
    sensor: {
      sample() {
        readings++
        return CALM
      }
    }
  })
  await app.ready()
  await eventually(() => readings > 0)
  await app.close()
  const before = readings
  await stays(() => readings === before)
})

test('steps out of order, wrong and unknown options fail the boot', async () => {
  const boot = async (options: object) => Fastify().register(pressure, options)
  await assert.rejects(boot({ heap: [0.9, 0.8, 0.7] }), /rhone-pressure: option "heap": must be ascending/)
  await assert.rejects(boot({ sampleInterval: 0 }), /rhone-pressure: option "sampleInterval"/)
  await assert.rejects(boot({ maxEventLoopDelay: 1 }), /rhone-pressure.*"maxEventLoopDelay"/)
})
