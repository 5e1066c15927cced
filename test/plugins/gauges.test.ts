import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Registry } from '@platformatic/prom-client'
import Fastify from 'fastify'
import gauges, { type GaugesOptions, type Reading } from '../../plugins/gauges.ts'

async function scraper(
  t: { after(fn: () => unknown): void },
  read: Reading['read'],
  options: Partial<GaugesOptions> = {}
) {
  const registry = new Registry()
  const app = Fastify()
  t.after(() => app.close())
  await app.register(gauges, {
    registry,
    ...options,
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

test('a failed reading omits its series instead of repeating an old value', async t => {
  let away = false
  const scrape = await scraper(
    t,
    async () => {
      if (away) throw new Error('database is away')
      return 7
    },
    { ttl: 0 }
  )
  assert.match(await scrape(), /^apps 7$/m)
  away = true
  assert.doesNotMatch(await scrape(), /^apps \d/m)
  away = false
  assert.match(await scrape(), /^apps 7$/m)
})

test('a hanging reading delays no scrape for long, and is not repeated meanwhile', async t => {
  let reads = 0
  const answer = Promise.withResolvers<number>()
  const read = () => {
    reads += 1
    return answer.promise
  }
  const scrape = await scraper(t, read, { timeout: 10 })
  for (let scrapes = 0; scrapes < 2; scrapes++) assert.doesNotMatch(await scrape(), /^apps \d/m)
  assert.equal(reads, 1)
  answer.resolve(7)
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
