import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import Fastify from 'fastify'
import status, {
  type Component,
  type Incident,
  type Observation,
  type StatusDay,
  type StatusDeps,
  type StatusOptions,
  type StatusStore
} from '../../plugins/status/index.ts'

const SECOND = 1_000
const NOON = Date.parse('2026-11-29T12:00:00Z')

/** A component whose state the test sets. */
function component(name: string): Component & { state: Observation } {
  const made = {
    name,
    title: name.toUpperCase(),
    state: { status: 'operational' } as Observation,
    check: () => made.state
  }
  return made
}

/** A shared store for the history of several instances. */
function memoryStore(): StatusStore & { days: StatusDay[]; incidents: Incident[]; isDown: boolean; ring(): void } {
  const listeners = new Set<() => void>()
  const made = {
    days: [] as StatusDay[],
    incidents: [] as Incident[],
    isDown: false,
    ring: () => listeners.forEach(listener => void listener()),
    async add(days: readonly StatusDay[]) {
      if (made.isDown) throw new Error('the store is down')
      made.days.push(...days)
    },
    async load(since: string) {
      if (made.isDown) throw new Error('the store is down')
      return { days: made.days.filter(({ day }) => day >= since), incidents: made.incidents }
    },
    async subscribe(listener: () => void) {
      listeners.add(listener)
      return async () => void listeners.delete(listener)
    }
  }
  return made
}

async function server(t: TestContext, input: StatusDeps & Partial<StatusOptions>) {
  const app = Fastify()
  app.register(status, input)
  await app.ready()
  t.after(() => app.close())
  return app
}

function clock(t: TestContext, now = NOON) {
  let monotonic = 1_000
  t.mock.timers.enable({ apis: ['setInterval', 'Date'], now })
  t.mock.method(performance, 'now', () => monotonic)
  return (seconds: number) => {
    for (let left = seconds; left > 0; left -= 15) {
      monotonic += Math.min(left, 15) * SECOND
      t.mock.timers.tick(Math.min(left, 15) * SECOND)
    }
  }
}

const incident = (more: Partial<Incident> = {}): Incident => ({
  id: '0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a',
  title: 'Deployments do not start',
  severity: 'high',
  components: [],
  openedAt: '2026-11-29T11:00:00.000Z',
  closedAt: null,
  updates: [],
  ...more
})

test('the service has the state of its worst component, and each describes the effect on users', async t => {
  const advance = clock(t)
  const [api, builds] = [component('api'), component('builds')]
  const app = await server(t, { components: [api, builds] })
  assert.equal(app.status.report().status, 'operational')
  builds.state = { status: 'outage', note: 'Builds do not start.' }
  advance(15)
  const report = app.status.report()
  assert.equal(report.status, 'outage')
  assert.deepEqual(
    report.components.map(({ name, status, note }) => [name, status, note]),
    [
      ['api', 'operational', null],
      ['builds', 'outage', 'Builds do not start.']
    ]
  )
  assert.equal(report.checkedAt, '2026-11-29T12:00:15.000Z')
})

test('without components the state is unknown', async t => {
  const app = await server(t, {})
  const { status, components, incidents } = app.status.report()
  assert.deepEqual([status, components, incidents], ['unknown', [], []])
})

test('uptime is the share of the observed time without an outage, by UTC day', async t => {
  const advance = clock(t, Date.parse('2026-11-29T23:50:00Z'))
  const api = component('api')
  const app = await server(t, { components: [api] })
  advance(600)
  api.state = { status: 'outage' }
  advance(300)
  api.state = { status: 'operational' }
  advance(300)
  const [found] = app.status.report().components
  assert.equal(found!.days.length, 30)
  assert.deepEqual(found!.days.slice(-3), [
    { date: '2026-11-28', status: 'unknown', uptime: null },
    { date: '2026-11-29', status: 'operational', uptime: 1 },
    { date: '2026-11-30', status: 'outage', uptime: 0.51219 }
  ])
  assert.equal(found!.uptime, 0.75)
})

test('planned maintenance is shown as such, and costs no uptime', async t => {
  const advance = clock(t)
  const api = component('api')
  let closure: { message: string; since: string; until: null } | null = null
  const app = await server(t, { components: [api], maintenance: () => closure })
  advance(60)
  api.state = { status: 'outage' }
  closure = { message: 'Back at six', since: '2026-11-29T12:01:00.000Z', until: null }
  advance(600)
  const report = app.status.report()
  assert.equal(report.status, 'maintenance')
  assert.deepEqual(report.maintenance, closure)
  assert.equal(report.components[0]!.status, 'maintenance')
  assert.equal(report.components[0]!.uptime, 1)
  assert.equal(report.components[0]!.days.at(-1)!.status, 'maintenance')
})

test('an open incident affects the components that it names, and a closed one does not', async t => {
  clock(t)
  const store = memoryStore()
  const [api, builds] = [component('api'), component('builds')]
  const app = await server(t, { components: [api, builds], store })
  store.incidents = [incident({ severity: 'critical', components: ['builds'] })]
  await app.status.sync()
  const during = app.status.report()
  assert.deepEqual(
    during.components.map(({ status, note }) => [status, note]),
    [
      ['operational', null],
      ['outage', 'Deployments do not start']
    ]
  )
  assert.equal(during.status, 'outage')

  store.incidents = [incident({ components: ['builds'], closedAt: '2026-11-29T11:30:00.000Z' })]
  await app.status.sync()
  assert.equal(app.status.report().status, 'operational')
  assert.equal(app.status.report().incidents.length, 1)
})

test('an incident without components degrades the whole service; a low one changes nothing', async t => {
  const store = memoryStore()
  const app = await server(t, { components: [component('api')], store })
  store.incidents = [incident()]
  await app.status.sync()
  assert.equal(app.status.report().status, 'degraded')
  store.incidents = [incident({ severity: 'low' })]
  await app.status.sync()
  assert.equal(app.status.report().status, 'operational')
})

test('a change of incidents is shown as soon as the store reports it', async t => {
  const store = memoryStore()
  const app = await server(t, { components: [component('api')], store })
  store.incidents = [incident()]
  store.ring()
  await app.status.sync()
  assert.equal(app.status.report().incidents.length, 1)
})

test('the history of all instances is added up, and unstored observations are kept', async t => {
  const advance = clock(t)
  const store = memoryStore()
  const api = component('api')
  store.days.push({ day: '2026-11-20', component: 'api', operational: 50, degraded: 0, outage: 150, maintenance: 0 })
  const app = await server(t, { components: [api], store })
  await app.status.sync()
  const uptimeOf = (date: string) => app.status.report().components[0]!.days.find(day => day.date === date)!.uptime
  assert.equal(uptimeOf('2026-11-20'), 0.25)

  store.isDown = true
  api.state = { status: 'outage' }
  advance(90)
  await assert.rejects(app.status.sync(), /the store is down/)
  assert.equal(uptimeOf('2026-11-29'), 0, 'it is in memory')
  assert.equal(uptimeOf('2026-11-20'), 0.25, 'what was read stays')

  store.isDown = false
  await app.status.sync()
  await app.status.sync()
  assert.deepEqual(store.days.slice(1), [
    { day: '2026-11-29', component: 'api', operational: 0, degraded: 0, outage: 90, maintenance: 0 }
  ])
  assert.equal(uptimeOf('2026-11-29'), 0)
})

test('the last observations are stored when the app closes', async t => {
  const advance = clock(t)
  const store = memoryStore()
  const app = await server(t, { components: [component('api')], store })
  advance(45)
  await app.close()
  assert.equal(store.days[0]!.operational, 45)
})

test('time during which the machine slept is not observed', async t => {
  let monotonic = 1_000
  t.mock.timers.enable({ apis: ['setInterval', 'Date'], now: NOON })
  t.mock.method(performance, 'now', () => monotonic)
  const store = memoryStore()
  const app = await server(t, { components: [component('api')], store })
  monotonic += 8 * 3_600 * SECOND
  t.mock.timers.tick(15 * SECOND)
  await app.status.sync()
  assert.equal(store.days[0]!.operational, 30, 'two intervals at most')
})

test('a wrong option fails the boot with a sentence', async () => {
  const app = Fastify()
  await assert.rejects(async () => app.register(status, { days: 0 }), /rhone-status: option "days"/)
})
