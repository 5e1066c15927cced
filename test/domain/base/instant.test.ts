import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sql } from 'drizzle-orm'
import { isoInstant, microsecondsOf } from '../../../src/domain/base/instant.ts'
import { openDatabase } from '../support.ts'

const INSTANTS = [
  '2026-11-26T01:54:21.497123Z',
  '2026-11-26T01:54:21.4971Z',
  '2026-11-26T01:54:21.497Z',
  '2026-11-26T01:54:21.5Z',
  '2026-11-26T01:54:21Z',
  '1969-12-31T23:59:59.999999Z',
  '2000-02-29T00:00:00.000001Z'
]

test('timestamps of PostgreSQL are read to the microsecond, in any time zone', async t => {
  const db = await openDatabase(t)
  for (const zone of ['UTC', 'Asia/Kolkata', 'America/St_Johns'])
    for (const instant of INSTANTS)
      await db.transaction(async tx => {
        await tx.execute(sql`select set_config('TimeZone', ${zone}, true)`)
        const [row] = await tx.execute<{ text: string; micros: string }>(sql`
          select ${instant}::timestamptz::text as text, (extract(epoch from ${instant}::timestamptz) * 1000000)::bigint::text as micros`)
        assert.equal(microsecondsOf(row!.text), row!.micros, row!.text)
        assert.equal(isoInstant(row!.text), new Date(instant).toISOString(), row!.text)
      })
})
