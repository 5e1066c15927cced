import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { eventually } from '../support/eventually.ts'
import { platform } from './support.ts'

const { app, as, token, addCaller } = await platform({ after })

test('operators can see figures and charts of the instance, without any other service', async () => {
  await app.operations.sample()
  for (let asked = 0; asked < 5; asked++) await as(null, 'GET', '/api/v1/ping')
  await as(token, 'GET', '/api/v1/apps')
  // A scrape is served again for a second.
  await eventually(
    async () => {
      await app.operations.sample()
      return (await app.operations.report(3_600)).routes.items.map(({ path }) => path)
    },
    paths => paths.includes('/api/v1/ping')
  )
  const reply = await as(token, 'GET', '/admin/operations')
  assert.equal(reply.statusCode, 200, reply.body)
  const { budget, routes, pool, dependencies, backup, charts, source, load, classes } = reply.json()
  assert.equal(source, 'memory')
  assert.equal(budget.target, 0.995)
  assert.deepEqual(
    budget.windows.map(({ window }: { window: string }) => window),
    ['5m', '30m', '1h', '6h']
  )
  assert.ok(routes.items.some(({ path }: { path: string }) => path === '/api/v1/ping'))
  assert.ok(pool.idle >= 0)
  assert.equal(dependencies.database, 'up')
  assert.equal(backup.last.known, backup.last.at !== null)
  assert.ok(load.rss > 1e7)
  assert.ok(classes.length > 0)
  const rate = charts.find(({ id }: { id: string }) => id === 'request-rate')
  assert.equal(rate.data.length, 2)
  assert.ok(rate.data[1].at(-1) > 0)
})

test('others cannot, and an unknown window is refused', async () => {
  const caller = await addCaller()
  assert.equal((await caller.call('GET', '/admin/operations')).statusCode, 403)
  assert.equal((await as(null, 'GET', '/admin/operations')).statusCode, 401)
  assert.equal((await as(token, 'GET', '/admin/operations?window=2h')).statusCode, 400)
  assert.equal((await as(token, 'GET', '/admin/operations?window=6h')).statusCode, 200)
})
