import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { type TestContext, test } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import { mergeExpositions, totalsOf } from '../../plugins/metrics/exposition.ts'
import metrics, { type MetricsPeers } from '../../plugins/metrics/index.ts'

const AUTHORIZATION = { authorization: 'Bearer scraper' }

/** Apps of one instance: each collects from the others when it is scraped. */
async function instance(t: TestContext, count: number): Promise<FastifyInstance[]> {
  const readers: (() => Promise<string>)[] = []
  return Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const peers: MetricsPeers = {
        serve(read) {
          readers[index] = read
        },
        exchange: () => Promise.all(readers.filter((_, other) => other !== index).map(read => read()))
      }
      const app = Fastify()
      t.after(() => app.close())
      await app.register(metrics, { tokens: ['scraper'], version: '1.2.3', scrapeTtl: 0, peers })
      app.get('/apps/:app', async () => 'here')
      return app
    })
  )
}

async function scrape(app: FastifyInstance): Promise<string> {
  return (await app.inject({ url: '/metrics', headers: AUTHORIZATION })).body
}

test('a scrape of one app covers the whole instance', async t => {
  const [one, other] = (await instance(t, 2)) as [FastifyInstance, FastifyInstance]
  for (let i = 0; i < 3; i++) await one.inject('/apps/1')
  for (let i = 0; i < 4; i++) await other.inject('/apps/1')
  await other.inject('/nowhere')

  for (const text of [await scrape(one), await scrape(other)]) {
    assert.match(text, /^rhone_http_requests_total\{method="GET",path="\/apps\/:app",status="200"\} 7$/m)
    assert.match(text, /^rhone_http_requests_total\{method="GET",path="__unmatched__",status="404"\} 1$/m)
    assert.match(text, /^rhone_http_request_duration_seconds_bucket\{le="\+Inf",.*"\/apps\/:app",status="200"\} 7$/m)
    assert.match(text, /^rhone_build_info\{version="1.2.3"\} 1$/m)
    assert.match(text, /^rhone_http_route_info\{method="GET",path="\/apps\/:app",slo="none"\} 1$/m)
  }
})

test('process metrics are not counted once per app', async t => {
  const before = process.cpuUsage()
  const apps = await instance(t, 4)
  const cpu = Number(/^process_cpu_seconds_total (\S+)$/m.exec(await scrape(apps[0]!))![1])
  const { user, system } = process.cpuUsage(before)
  assert.ok(cpu <= (user + system) / 1e6, `${cpu} s`)
})

test('each gauge is merged by its own rule, and readings that are not numbers are skipped', () => {
  const exposition = (value: string) => `# HELP g What it is.\n# TYPE g gauge\ng{a="b c"} ${value}\n`
  const merged = (rule: Parameters<typeof mergeExpositions>[1], ...values: string[]) =>
    mergeExpositions(values.map(exposition), rule).split(' ').at(-1)?.trim()
  assert.equal(
    merged(() => 'sum', '1', '2'),
    '3'
  )
  assert.equal(
    merged(() => 'max', '1', '2'),
    '2'
  )
  assert.equal(
    merged(() => 'min', '1', '2'),
    '1'
  )
  assert.equal(
    merged(() => 'average', '1', '2'),
    '1.5'
  )
  assert.equal(
    merged(() => 'first', '1', '2'),
    '1'
  )
  assert.equal(
    merged(() => 'max', 'Nan', '2'),
    '2'
  )
  assert.equal(
    merged(() => 'sum', '+Inf', '2'),
    '+Inf'
  )
})

test('the totals of an ended app are kept', () => {
  const text = (count: number) =>
    `# HELP c Count.\n# TYPE c counter\nc{a="1"} ${count}\n\n# HELP g Now.\n# TYPE g gauge\ng 5\n`
  const left = totalsOf([totalsOf(['', text(2)]), text(3)])
  assert.equal(left, '# HELP c Count.\n# TYPE c counter\nc{a="1"} 5\n')
  assert.match(
    mergeExpositions([text(1), left], () => 'sum'),
    /^c\{a="1"\} 6\n\n.*\n.*\ng 5$/m
  )
})

test('promtool accepts a merged scrape', async t => {
  if (spawnSync('promtool', ['--version']).error) return t.skip('promtool is not installed')
  const [one, other] = (await instance(t, 2)) as [FastifyInstance, FastifyInstance]
  await other.inject('/apps/1')
  const { status, stderr, stdout } = spawnSync('promtool', ['check', 'metrics'], { input: await scrape(one) })
  assert.equal(`${stdout}${stderr}`, '')
  assert.equal(status, 0)
})
