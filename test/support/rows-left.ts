/**
 * Prints how many bytes queries leave behind in the old generation, as a JSON array of five measurements: `many` measures
 * one query of 5,000 rows, `one` 2,000 queries of one row, each sent when the one before has ended. Takes one of these,
 * the URL of a database, and the flags of V8 that the test gives it:
 *
 * - `--expose-gc`
 * - `--no-allocation-site-pretenuring`: after a full collection in the middle of a query, V8 may create rows as old objects
 *   to begin with. It decides that for a whole process, which is why this is one.
 * - `--min-semi-space-size`: enough for all rows, so that none of them grow old while queries run
 */
import { getHeapSpaceStatistics } from 'node:v8'
import { sql } from 'drizzle-orm'
import { pgTable, text } from 'drizzle-orm/pg-core'
import Fastify from 'fastify'
import database from '../../plugins/database/index.ts'

/** Bytes in the old generation, whether still used or not. */
function oldBytes(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === 'old_space')!.space_used_size
}

/** Whatever survives two collections of young objects is old. */
function age(): void {
  globalThis.gc!({ type: 'minor' })
  globalThis.gc!({ type: 'minor' })
}

await using app = Fastify()
await app.register(database, { url: process.argv[3]!, poolMax: 1 })
await app.db.execute(sql`create table rows as select n::text as text from generate_series(100001, 105000) n`)
const rows = pgTable('rows', { text: text() })
const many = app.db.select().from(rows).prepare('many')
const one = app.db.select().from(rows).limit(1).prepare('one')
const works: Readonly<Record<string, () => Promise<void>>> = {
  async many() {
    if ((await many.execute()).length !== 5_000) throw new Error('rows are missing')
  },
  async one() {
    for (let count = 0; count < 2_000; count++) await one.execute()
  }
}
const work = works[process.argv[2]!]!
await work()

const left: number[] = []
for (let round = 0; round < 5; round++) {
  age()
  const before = oldBytes()
  await work()
  age()
  left.push(oldBytes() - before)
}
console.log(JSON.stringify(left))
