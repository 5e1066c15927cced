import assert from 'node:assert/strict'
import { mock, type TestContext, test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import type { Running } from '../../integrations/deployer/port.ts'
import { appHealth } from '../../routes/lib/app-health.ts'

const EVERY = 2_000

/** Apps by id, and whether each is healthy; null: the machines cannot be asked. */
type Machines = Readonly<Record<string, boolean>> | null

function watched(t: TestContext, first: Machines) {
  mock.timers.enable({ apis: ['setInterval'] })
  let now = 0
  mock.method(performance, 'now', () => now)
  t.after(() => {
    mock.timers.reset()
    mock.restoreAll()
  })
  let machines = first
  const running = async (): Promise<readonly Partial<Running>[]> => {
    if (machines === null) throw new Error('no answer')
    return Object.entries(machines).map(([appId, isHealthy]) => ({ appId, isHealthy, isServing: true }))
  }
  const app = {
    db: {},
    log: { debug() {} },
    hasDecorator: () => true,
    getDecorator: () => ({ lookEvery: EVERY, running })
  } as unknown as FastifyInstance
  const changed: string[] = []
  const watch = appHealth(app).watch(appId => changed.push(appId))
  t.after(() => watch.stop())
  return {
    /** The ids that a look finds changed: the first one, or the next with these machines. */
    async look(next?: Machines): Promise<string[]> {
      if (next !== undefined) {
        machines = next
        now += EVERY
        mock.timers.tick(EVERY)
      }
      await new Promise(setImmediate)
      return changed.splice(0)
    }
  }
}

test('an app that is down at the first look is reported, because pages may show it as it was before', async t => {
  const { look } = watched(t, { one: true, two: false })
  assert.deepEqual(await look(), ['two'])
  assert.deepEqual(await look({ one: true, two: false }), [])
})

test('the first look is the first that succeeds', async t => {
  const { look } = watched(t, null)
  assert.deepEqual(await look(), [])
  assert.deepEqual(await look({ one: false }), ['one'])
})

test('what differs from the look before is reported: apps that go down, recover, begin or end', async t => {
  const { look } = watched(t, { one: true, two: true })
  assert.deepEqual(await look(), [])
  assert.deepEqual(await look({ one: true, two: false }), ['two'])
  assert.deepEqual(await look(null), [])
  assert.deepEqual(await look({ one: true, two: true, three: true }), ['two', 'three'])
  assert.deepEqual(await look({ one: true, two: true }), ['three'])
})
