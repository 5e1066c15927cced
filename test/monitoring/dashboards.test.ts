import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import Fastify from 'fastify'
import { grafanaDashboard } from '../../monitoring/grafana.ts'
import { dashboards, panels } from '../../monitoring/panels.ts'
import pressure from '../../plugins/pressure/index.ts'
import archive from '../../src/workflows/archive/index.ts'
import { testApp } from '../support/app.ts'
import { place, server } from '../support/secret-place.ts'
import { readRules } from './rule-files.ts'

const MONITORING = join(import.meta.dirname, '../../monitoring')

interface Grafana {
  readonly panels: readonly { readonly id: number; readonly gridPos: { x: number; y: number; w: number; h: number } }[]
}

test('the Grafana JSON is generated from the list of panels', async () => {
  for (const dashboard of dashboards) {
    const file = join(MONITORING, 'dashboards', `${dashboard.uid.replace('rhone-', 'app-')}.json`)
    const made = `${JSON.stringify(grafanaDashboard(dashboard), null, 2)}\n`
    assert.equal(await readFile(file, 'utf8'), made, 'run npm run dashboards')
    assert.doesNotMatch(made, /__inputs|DS_PROMETHEUS/, 'it is provisioned, not imported by hand')
  }
})

test('panel ids are unique, and panels do not overlap', () => {
  assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length)
  for (const dashboard of dashboards) {
    const { panels: placed } = grafanaDashboard(dashboard) as Grafana
    assert.equal(new Set(placed.map(({ id }) => id)).size, placed.length)
    const taken = new Set<string>()
    for (const { gridPos } of placed)
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          assert.ok(!taken.has(`${x},${y}`), `${dashboard.title}: two panels at ${x},${y}`)
          assert.ok(x < 24)
          taken.add(`${x},${y}`)
        }
  }
})

test('rates use the interval of Grafana, or at least an hour', () => {
  for (const { id, query } of panels)
    for (const [, range] of query.matchAll(/\[([^\]]+)\]/g))
      assert.ok(range === '$__rate_interval' || range === '1h', `${id}: [${range}]`)
})

/** Metrics that are not ours: of Prometheus, and of the blackbox exporter. */
const FOREIGN = /^(up|probe_success|probe_ssl_last_chain_expiry_timestamp_seconds)$/
const NAME = /\b(?:rhone|process|nodejs|probe)_[a-z0-9_]+\b|\brhone:[a-z0-9_:]+\b|\bup\b/g

test('no panel or rule queries a metric that does not exist', async t => {
  // With shedding, as shipped; other tests turn it off.
  const { app, as } = await testApp(t, {}, { pressure })
  const following = await server(t, await place(t, {}))
  await as(null, 'GET', '/api/v1/ping')
  const archiving = Fastify()
  archiving.decorate('db', app.db)
  const audience = { webhookUrl: null, mail: null }
  const settings = { run: () => Promise.reject(new Error('unused')), directory: '/', limit: 0, audience }
  await archiving.register(archive, settings)
  const scraped = `${await app.metrics.registry.metrics()}\n${await following.app.metrics.registry.metrics()}`
  const exposed = new Set(
    [...scraped.matchAll(/^# TYPE (\S+) (\S+)$/gm)].flatMap(([, name, type]) => namesOf(name!, type!))
  )
  for (const { name } of archiving.archive.readings) exposed.add(name)
  const rules = (await readRules()).groups.flatMap(group => group.rules)
  const recorded = new Set(rules.map(({ record }) => record))

  const queries = [...panels.map(({ query }) => query), ...rules.map(({ expr }) => expr)]
  const unknown = queries.flatMap(query => [...query.replaceAll(/"[^"]*"/g, '""').matchAll(NAME)].map(([name]) => name))
  assert.deepEqual(
    [...new Set(unknown)].filter(name => !exposed.has(name) && !recorded.has(name) && !FOREIGN.test(name)),
    []
  )
})

function namesOf(name: string, type: string): string[] {
  return type === 'histogram' ? [`${name}_bucket`, `${name}_count`, `${name}_sum`] : [name]
}

test('a query of an unknown metric is detected', () => {
  assert.deepEqual(
    [...'rate(rhone_no_such_total[5m]) > 0'.matchAll(NAME)].map(([name]) => name),
    ['rhone_no_such_total']
  )
})
