import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setInterval as every } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Registry } from '@platformatic/prom-client'
import Fastify from 'fastify'
import errorTracking from '../../plugins/error-tracking/index.ts'
import { startFakeSentry } from '../fakes/sentry/server.ts'
import { eventually } from '../support/eventually.ts'

setFlagsFromString('--expose-gc')
const collectGarbage: () => void = runInNewContext('gc')

const MINUTE = 60_000
const ERRORS_PER_TURN = 50

async function losses(registry: Registry): Promise<number> {
  const metric = registry.getSingleMetric('rhone_telemetry_dropped_total')!
  const { values } = (await metric.get()) as { values: { labels: { signal?: string }; value: number }[] }
  return values.filter(({ labels }) => labels.signal === 'errors').reduce((sum, { value }) => sum + value, 0)
}

/** Memory in use after collections, in MB. */
function heap(): number {
  for (let pass = 0; pass < 3; pass++) collectGarbage()
  return process.memoryUsage().heapUsed / 1024 ** 2
}

test('a Sentry that hangs for a minute during a burst of errors costs no memory, and gets the next error afterwards', {
  timeout: 5 * MINUTE
}, async (t: TestContext) => {
  const sentry = await startFakeSentry()
  t.after(() => sentry.close())
  const registry = new Registry()
  const app = Fastify()
  t.after(() => app.close())
  await app.register(errorTracking, { dsn: sentry.dsn, registry })
  await app.ready()
  app.errorTracking.capture({ error: new Error('before') })
  await eventually(() => sentry.events.length === 1)

  sentry.behaviour = 'hang'
  let captured = 0
  const fail = () => {
    for (let count = 0; count < ERRORS_PER_TURN; count++)
      app.errorTracking.capture({ error: new Error('boom'), route: `GET /${captured++ % 5_000}` })
  }
  for (let turn = 0; turn < 100; turn++) fail()
  const before = heap()
  const end = performance.now() + MINUTE
  let mostPending = 0
  for await (const _turn of every(20)) {
    if (performance.now() > end) break
    fail()
    mostPending = Math.max(mostPending, sentry.pending)
  }
  const grown = heap() - before
  assert.ok(captured > 50_000, `only ${captured} errors`)
  assert.ok(mostPending <= 2, `${mostPending} requests were pending`)
  assert.ok(grown < 10, `it grew by ${grown} MB`)

  sentry.behaviour = 200
  const isDelivered = () => sentry.events.some(({ exception }) => exception!.values[0]!.value === 'the next one')
  await eventually(
    () => {
      app.errorTracking.capture({ error: new RangeError('the next one') })
      return isDelivered()
    },
    Boolean,
    2 * MINUTE
  )
  await app.close()
  assert.ok(sentry.events.length + (await losses(registry)) >= captured, 'every error was sent or counted')
})
