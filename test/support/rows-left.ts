/**
 * Prints, for each of five queries, how many bytes in the old generation the rows of the query have left behind, as a JSON
 * array. Takes the URL of a database, and the flags of V8 that the test gives it:
 *
 * - `--expose-gc`
 * - `--no-allocation-site-pretenuring`: after a full collection in the middle of a query, V8 may create rows as old objects
 *   to begin with. It decides that for a whole process, which is why this is one.
 * - `--min-semi-space-size`: enough for the rows of a query, so that none of them grow old while it runs
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
await app.register(database, { url: process.argv[2]!, poolMax: 1 })
await app.db.execute(sql`create table rows as select n::text as text from generate_series(100001, 105000) n`)
const rows = pgTable('rows', { text: text() })
const query = app.db.select().from(rows).prepare('rows')
const count = async () => (await query.execute()).length
await count()

const left: number[] = []
for (let round = 0; round < 5; round++) {
  age()
  const before = oldBytes()
  if ((await count()) !== 5_000) throw new Error('rows are missing')
  age()
  left.push(oldBytes() - before)
}
console.log(JSON.stringify(left))
