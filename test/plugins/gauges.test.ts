import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Registry } from '@platformatic/prom-client'
import Fastify from 'fastify'
import gauges, { type Reading } from '../../plugins/gauges.ts'

async function scraper(t: { after(fn: () => unknown): void }, read: Reading['read'], ttl?: number) {
  const registry = new Registry()
  const app = Fastify()
  t.after(() => app.close())
  await app.register(gauges, {
    registry,
    ...(ttl !== undefined && { ttl }),
    readings: [{ name: 'apps', help: 'Apps.', read }]
  })
  await app.ready()
  return () => registry.metrics()
}

test('a reading is taken when it is scraped, and once per ttl', async t => {
  let reads = 0
  const scrape = await scraper(t, async () => {
    reads += 1
    return 42
  })
  assert.equal(reads, 0)
  assert.match(await scrape(), /^apps 42$/m)
  await scrape()
  assert.equal(reads, 1)
})

test('a reading that fails leaves its series out instead of repeating an old number', async t => {
  let away = false
  const scrape = await scraper(
    t,
    async () => {
      if (away) throw new Error('database is away')
      return 7
    },
    0
  )
  assert.match(await scrape(), /^apps 7$/m)
  away = true
  assert.doesNotMatch(await scrape(), /^apps \d/m)
  away = false
  assert.match(await scrape(), /^apps 7$/m)
})

test('without a registry it does nothing', async t => {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(gauges, {
    readings: [{ name: 'apps', help: 'Apps.', read: async () => assert.fail('nobody scrapes') }]
  })
  await app.ready()
})
