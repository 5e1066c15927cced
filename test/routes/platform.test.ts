import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { eq, sql } from 'drizzle-orm'
import { regions } from '../../drizzle/schema.ts'
import { platform } from './support.ts'

const server = await platform({ after })

test('GET /ping answers anyone', async () => {
  const response = await server.as(null, 'GET', '/api/v1/ping')
  assert.deepEqual([response.statusCode, response.body], [200, '{"pong":true}'])
  assert.match(String(response.headers['content-type']), /^application\/json/)
})

test('GET /regions lists all 28 regions, grouped by continent', async () => {
  const { items, nextCursor } = (await server.as(null, 'GET', '/api/v1/regions')).json()
  assert.equal(items.length, 28)
  assert.equal(nextCursor, null)
  const continents = items.map((region: { continent: string }) => region.continent)
  assert.deepEqual(continents, continents.toSorted())
  const expected = ['code', 'name', 'city', 'country', 'continent', 'latitude', 'longitude', 'available']
  for (const region of items) assert.deepEqual(Object.keys(region), expected)
  assert.deepEqual(typeof items[0].latitude, 'number')
})

test('GET /regions gives the same in pages', async () => {
  const read = async (query: string) => (await server.as(null, 'GET', `/api/v1/regions?${query}`)).json()
  const { items } = await read('')
  const first = await read('limit=20')
  const second = await read(`limit=20&cursor=${first.nextCursor}`)
  assert.deepEqual([[...first.items, ...second.items], second.nextCursor], [items, null])
  for (const query of ['limit=0', 'limit=201', 'cursor=AAAA', 'cursor=enp6', 'cursor=%C3%A9'])
    assert.equal((await read(query)).error.code, 'VALIDATION_ERROR', query)
})

test('GET /regions follows changes within minutes, and works for a day without the database', async t => {
  const { app } = server
  const isAvailable = async (code: string) => {
    const { items } = (await app.inject('/api/v1/regions?limit=200')).json()
    return items.find((region: { code: string }) => region.code === code).available
  }
  assert.equal(await isAvailable('bah'), true)
  await app.db.update(regions).set({ available: false }).where(eq(regions.code, 'bah'))
  const { now } = performance
  let passed = 10 * 60_000
  t.mock.method(performance, 'now', () => now.call(performance) + passed)
  assert.equal(await isAvailable('bah'), false)

  await app.db.execute(sql`alter table regions rename to regions_away`)
  t.after(() => app.db.execute(sql`alter table regions_away rename to regions`))
  passed += 23 * 3_600_000
  assert.equal(await isAvailable('bah'), false)
})
