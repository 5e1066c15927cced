import assert from 'node:assert/strict'
import { test } from 'node:test'
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { sql } from 'drizzle-orm'
import { pgTable, text } from 'drizzle-orm/pg-core'
import Fastify from 'fastify'
import { Bag, type Member } from '../../plugins/database/bag.ts'
import database from '../../plugins/database/index.ts'
import { freshDatabase } from '../support/database.ts'

setFlagsFromString('--expose-gc')
const collectYoung = runInNewContext('() => gc({ type: "minor" })') as () => void

/** Bytes in the old generation, whether still used or not. */
function oldBytes(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === 'old_space')!.space_used_size
}

/** Whatever survives two collections of young objects is old. */
function age(): void {
  collectYoung()
  collectYoung()
}

test('rows of a query on a connection that was idle are freed as young objects', async t => {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(database, { url: await freshDatabase(t), poolMax: 1 })
  await app.db.execute(sql`create table rows as select n::text as text from generate_series(100000, 105000) n`)
  const rows = pgTable('rows', { text: text() })
  const query = app.db.select().from(rows).prepare('rows')
  const count = async () => (await query.execute()).length
  await count()

  const grown: number[] = []
  for (let round = 0; round < 5; round++) {
    age()
    const before = oldBytes()
    assert.equal(await count(), 5_001)
    age()
    grown.push(oldBytes() - before)
  }
  // A full collection, which may happen at any time, makes one of them negative.
  const median = grown.toSorted((a, b) => a - b)[2]!
  assert.ok(median < 100_000, `bytes: ${grown}`)
})

test('a bag gives all members back but those that were removed, from the beginning, the middle and the end', () => {
  const bag = new Bag<Member & { name: string }>()
  const members = ['a', 'b', 'c', 'd', 'e'].map(name => ({ name, place: 0 }))
  for (const member of members) bag.add(member)
  const left = () =>
    bag
      .all()
      .map(({ name }) => name)
      .sort()
      .join('')
  for (const [index, names] of [
    [1, 'acde'],
    [4, 'acd'],
    [0, 'cd'],
    [2, 'd'],
    [3, '']
  ] as const) {
    bag.remove(members[index]!)
    assert.equal(left(), names)
  }
  assert.equal(bag.size, 0)
})
