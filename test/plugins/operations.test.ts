import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import Fastify from 'fastify'
import { panels } from '../../monitoring/panels.ts'
import operations, {
  type HistorySource,
  type LivePanel,
  type OperationsDeps,
  type OperationsOptions
} from '../../plugins/operations/index.ts'

/** The metrics of an imaginary server, which the test changes. */
type Exposition = Record<string, number>

async function server(t: TestContext, metrics: Exposition, input: Partial<OperationsOptions> & OperationsDeps = {}) {
  const app = Fastify()
  const scrape = async () =>
    `# HELP a b\n${Object.entries(metrics)
      .map(([series, value]) => `${series} ${value}\n`)
      .join('')}`
  app.register(operations, { isReady: () => false, scrape, ...input })
  await app.ready()
  t.after(() => app.close())
  return app
}

/** A clock controlled by the test. */
function clock(t: TestContext) {
  let now = 1_000
  const began = Date.parse('2026-11-29T12:00:00Z')
  t.mock.method(performance, 'now', () => now)
  t.mock.method(Date, 'now', () => began + now)
  return (seconds: number) => {
    now += seconds * 1_000
  }
}

const slo = (name: string, outcome: string) => `rhone_slo_requests_total{slo="${name}",outcome="${outcome}"}`
const panel = (more: Partial<LivePanel>): LivePanel => ({
  id: 'x',
  title: 'X',
  unit: 'short',
  kind: 'graph',
  query: 'x',
  legend: '',
  ...more
})

test('before the first sample all values are unknown, not zero', async t => {
  const app = await server(t, {})
  const { sampledAt, rememberedSeconds, budget, backup, load, pool } = await app.operations.report(3_600)
  assert.deepEqual([sampledAt, rememberedSeconds, pool], [null, 0, null])
  assert.deepEqual(backup.last, { known: false, at: null, ageSeconds: null })
  assert.equal(backup.sizeBytes, null)
  assert.equal(load.rss, null)
  for (const { ratio, burn, seconds } of budget.windows) assert.deepEqual([ratio, burn, seconds], [null, null, 0])
})

test('the burn rate is the failed share of valid requests per window, without probes', async t => {
  const advance = clock(t)
  const metrics: Exposition = {
    [slo('list', 'good')]: 1_000,
    [slo('list', 'error')]: 50,
    [slo('list', 'limited')]: 0,
    [slo('health', 'error')]: 0
  }
  const app = await server(t, metrics)
  await app.operations.sample()
  advance(3_000)
  metrics[slo('list', 'good')]! += 900
  await app.operations.sample()
  advance(240)
  metrics[slo('list', 'good')]! += 90
  metrics[slo('list', 'error')]! += 10
  metrics[slo('list', 'limited')]! += 500
  metrics[slo('health', 'error')]! += 500
  await app.operations.sample()
  const { budget, classes, rememberedSeconds } = await app.operations.report(3_600)
  assert.equal(rememberedSeconds, 3_240)
  assert.deepEqual(
    budget.windows.map(({ window, seconds, valid, errors, burn }) => [window, seconds, valid, errors, burn]),
    [
      ['5m', 240, 100, 10, 20],
      ['30m', 240, 100, 10, 20],
      ['1h', 3_240, 1_000, 10, 2],
      ['6h', 3_240, 1_000, 10, 2]
    ]
  )
  assert.equal(budget.spentRemembered, 0.0025, 'twice the allowed pace for 54 minutes of 30 days')
  assert.equal(budget.remaining, null)
  assert.deepEqual(
    classes.find(found => found.slo === 'list'),
    { slo: 'list', good: 990, slow: 0, error: 10, maintenance: 0, limited: 500, gone: 0 }
  )
})

test('rates, errors and durations are shown by route, busiest first', async t => {
  const advance = clock(t)
  const labels = 'method="GET",path="/apps/:app"'
  const duration = (le: string) => `rhone_http_request_duration_seconds_bucket{le="${le}",${labels},status="200"}`
  const metrics: Exposition = {
    [`rhone_http_requests_total{${labels},status="200"}`]: 5,
    [`rhone_http_requests_total{${labels},status="500"}`]: 0,
    'rhone_http_requests_total{method="GET",path="/idle",status="200"}': 5,
    [duration('0.1')]: 5,
    [duration('0.2')]: 5,
    [duration('+Inf')]: 5
  }
  const app = await server(t, metrics)
  await app.operations.sample()
  advance(100)
  metrics[`rhone_http_requests_total{${labels},status="200"}`]! += 90
  metrics[`rhone_http_requests_total{${labels},status="500"}`]! += 10
  metrics[duration('0.1')]! += 50
  metrics[duration('0.2')]! += 100
  metrics[duration('+Inf')]! += 100
  metrics['rhone_http_requests_total{method="GET",path="/new \\"quoted\\"",status="200"}'] = 3
  await app.operations.sample()
  const { routes } = await app.operations.report(3_600)
  assert.equal(routes.seconds, 100)
  assert.deepEqual(routes.items[0], {
    method: 'GET',
    path: '/apps/:app',
    requests: 100,
    perSecond: 1,
    errors: 10,
    errorRatio: 0.1,
    p50: 0.1,
    p95: 0.19
  })
  assert.deepEqual(
    routes.items.map(({ requests }) => requests),
    [100, 3],
    'a route without requests is left out; a new series has grown from 0'
  )
})

test('jobs, dependencies, the pool and the age of the backup are those of the last sample', async t => {
  const advance = clock(t)
  const metrics: Exposition = {
    'rhone_jobs_waiting{queue="build"}': 3,
    'rhone_jobs_total{queue="build",outcome="completed"}': 1,
    'rhone_dependency_up{service="github"}': 0,
    'rhone_dependency_up{service="database"}': 1,
    'rhone_db_pool_connections{state="idle"}': 4,
    rhone_backup_last_success_timestamp_seconds: Date.parse('2026-11-29T11:00:00Z') / 1_000,
    rhone_restore_drill_last_success_timestamp_seconds: 0
  }
  const app = await server(t, metrics)
  await app.operations.sample()
  advance(60)
  metrics['rhone_jobs_total{queue="build",outcome="completed"}'] = 6
  await app.operations.sample()
  const report = await app.operations.report(3_600)
  assert.deepEqual(report.jobs, [{ queue: 'build', waiting: 3, lastHour: { completed: 5 } }])
  assert.deepEqual(report.dependencies, { github: 'down', database: 'up' })
  assert.deepEqual(report.pool, { idle: 4 })
  assert.deepEqual(report.backup.last, { known: true, at: '2026-11-29T11:00:00.000Z', ageSeconds: 3_661 })
  assert.equal(report.backup.drill.known, false, 'a drill at the beginning of 1970 is none')
})

test('charts have the format of uPlot: times, then a row per series', async t => {
  const advance = clock(t)
  const metrics: Exposition = {
    'total{class="a"}': 10,
    'total{class="b"}': 0,
    'level{state="idle"}': 2,
    'timed_bucket{le="1"}': 0,
    'timed_bucket{le="+Inf"}': 0
  }
  const app = await server(t, metrics, {
    panels: [
      panel({ id: 'rate', legend: '{{class}}', live: [{ show: 'rate', of: { metric: 'total', by: ['class'] } }] }),
      panel({ id: 'level', legend: '{{state}}', live: [{ show: 'level', of: { metric: 'level', by: ['state'] } }] }),
      panel({
        id: 'ratio',
        live: [
          { legend: 'part', show: 'ratio', of: { metric: 'total', where: { class: ['a'] } }, over: { metric: 'total' } }
        ]
      }),
      panel({
        id: 'p50',
        threshold: { value: 1, bad: 'above' },
        live: [{ legend: 'P50', show: 'quantile', of: { metric: 'timed' }, quantile: 0.5 }]
      }),
      panel({ id: 'elsewhere' })
    ]
  })
  await app.operations.sample()
  advance(10)
  metrics['total{class="a"}']! += 30
  metrics['total{class="b"}']! += 10
  metrics['timed_bucket{le="1"}']! += 2
  metrics['timed_bucket{le="+Inf"}']! += 2
  await app.operations.sample()
  const { charts, source, fallback } = await app.operations.report(3_600)
  assert.deepEqual([source, fallback], ['memory', null])
  const start = Date.parse('2026-11-29T12:00:01Z') / 1_000
  assert.deepEqual(
    charts.map(({ id, series, data }) => [id, series, ...data.slice(1)]),
    [
      ['rate', ['a', 'b'], [null, 3], [null, 1]],
      ['level', ['idle'], [2, 2]],
      ['ratio', ['part'], [null, 0.75]],
      ['p50', ['P50'], [null, 0.5]]
    ]
  )
  assert.deepEqual(charts[0]!.data[0], [start, start + 10])
  assert.deepEqual(charts[3]!.threshold, { value: 1, bad: 'above' })
})

test('the history is limited to the configured time and number of series', async t => {
  const advance = clock(t)
  const metrics: Exposition = {}
  for (let index = 0; index < 50; index++) metrics[`total{class="${index}"}`] = index
  const app = await server(t, metrics, {
    interval: 1_000,
    remember: 5_000,
    maxSeries: 10,
    panels: [panel({ legend: '{{class}}', live: [{ show: 'level', of: { metric: 'total', by: ['class'] } }] })]
  })
  for (let round = 0; round < 50; round++) {
    await app.operations.sample()
    advance(1)
  }
  const { rememberedSeconds, charts } = await app.operations.report(3_600)
  assert.equal(rememberedSeconds, 5)
  assert.equal(charts[0]!.series.length, 10)
  assert.equal(charts[0]!.data[0]!.length, 6)
})

test('a long series is downsampled', async t => {
  const advance = clock(t)
  const app = await server(t, { total: 1 }, { panels: [panel({ live: [{ show: 'level', of: { metric: 'total' } }] })] })
  for (let round = 0; round < 1_000; round++) {
    await app.operations.sample()
    advance(15)
  }
  const [chart] = (await app.operations.report(21_600)).charts
  const [times = []] = chart!.data
  assert.ok(times.length > 190 && times.length <= 240, `${times.length} points`)
  assert.equal(chart!.data[1]!.length, times.length)
})

test('with a history, every panel uses it, with the queries of the dashboards', async t => {
  const asked: string[] = []
  const history: HistorySource = {
    async range(query, { start, end, step }) {
      asked.push(query)
      return [
        {
          labels: { class: 'a' },
          points: [
            [start, 1],
            [end - step, 3]
          ]
        }
      ]
    },
    now: async () => 0.75
  }
  const app = await server(
    t,
    {},
    {
      history,
      panels: [panel({ query: 'rate(x[$__rate_interval])', legend: 'class {{class}}' }), panel({ id: 'y', query: 'y' })]
    }
  )
  const { charts, source, budget } = await app.operations.report(7_200)
  assert.equal(source, 'history')
  assert.equal(budget.remaining, 0.75)
  assert.deepEqual(asked.toSorted(), ['rate(x[60s])', 'y'])
  const [times = [], values = []] = charts[0]!.data
  assert.deepEqual(charts[0]!.series, ['class a'])
  assert.deepEqual([values[0], values[1], values.at(-2), values.at(-1)], [1, null, 3, null])
  assert.equal(times.at(-1)! - times[0]!, 7_200)
})

test('a history that fails or hangs is replaced by the local one, with the reason', async t => {
  const live: Partial<LivePanel> = { live: [{ show: 'level', of: { metric: 'level' } }] }
  const failing: HistorySource = {
    range: async () => assert.fail('it has gone'),
    now: async () => 1
  }
  const app = await server(t, { level: 7 }, { history: failing, panels: [panel(live)] })
  await app.operations.sample()
  const failed = await app.operations.report(3_600)
  assert.deepEqual([failed.source, failed.fallback, failed.charts[0]!.data[1]], ['memory', 'it has gone', [7]])
  assert.equal(failed.budget.remaining, null)

  const aborted = (signal: AbortSignal) =>
    new Promise<never>((_done, fail) => signal.addEventListener('abort', () => fail(signal.reason)))
  const hanging: HistorySource = { range: (_query, _range, signal) => aborted(signal), now: (_query, s) => aborted(s) }
  const other = await server(t, { level: 7 }, { history: hanging, historyTimeout: 20, panels: [panel(live)] })
  const hung = await other.operations.report(3_600)
  assert.equal(hung.source, 'memory')
  assert.match(hung.fallback!, /timeout/)
})

test('a failed scrape yields no sample, and the next one does', async t => {
  let isBroken = true
  const app = await server(
    t,
    {},
    {
      interval: 10,
      isReady: () => true,
      scrape: async () => (isBroken ? assert.fail('no metrics') : 'level 1\n'),
      panels: [panel({ live: [{ show: 'level', of: { metric: 'level' } }] })]
    }
  )
  assert.equal((await app.operations.report(60)).sampledAt, null)
  isBroken = false
  while ((await app.operations.report(60)).sampledAt === null) await new Promise(resolve => setImmediate(resolve))
})

test('every live panel of the dashboards refers to existing series of its query', () => {
  const drawn = panels.filter(({ live }) => live !== undefined)
  assert.ok(drawn.length >= 20, `${drawn.length} panels`)
  for (const { id, live = [], query } of drawn)
    for (const part of live) {
      const { metric } = part.of
      const recorded = query.includes('rhone:slo_') && metric === 'rhone_slo_requests_total'
      assert.ok(query.includes(metric) || recorded, `${id}: ${metric}`)
    }
})
