import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import postgres, { type Sql } from 'postgres'
import { readMigrations } from '../../drizzle/journal.ts'
import { migrateDatabase } from '../../src/wiring/migrations.ts'
import { emptyDatabase } from '../support/database.ts'
import { type Contents, contentsOf, fillDatabase } from '../support/filled-database.ts'

const TAGS = (await readMigrations()).map(({ tag }) => tag)

/** Has one row, which a migration creates. */
const SINGLE = ['maintenance_state']

function client(t: TestContext, url: string): Sql {
  const sql = postgres(url, { max: 1, fetch_types: false, onnotice: () => {} })
  t.after(() => sql.end({ timeout: 1 }))
  return sql
}

/** Missing or changed data: a later version may have more columns and rows. */
function lossesOf(before: Contents, after: Contents): string[] {
  const losses: string[] = []
  for (const [table, rows] of before) {
    const now = after.get(table)
    for (const row of rows) {
      const isKept = now?.some(candidate =>
        Object.entries(row).every(([column, value]) => isDeepStrictEqual(candidate[column], value))
      )
      if (!isKept) losses.push(`${table}: ${JSON.stringify(row)}`)
    }
  }
  return losses
}

for (const [index, tag] of TAGS.slice(0, -1).entries())
  test(`a database filled at ${tag} keeps every row and value when it is migrated`, async t => {
    const url = await emptyDatabase(t)
    await migrateDatabase(url, { upTo: tag })
    const sql = client(t, url)
    await fillDatabase(sql, SINGLE)
    const before = await contentsOf(sql)
    for (const [table, rows] of before) assert.ok(rows.length > 0 || SINGLE.includes(table), `${table} was not filled`)

    const { applied } = await migrateDatabase(url)
    assert.deepEqual(applied, TAGS.slice(index + 1))
    const after = await contentsOf(sql)
    assert.deepEqual(lossesOf(before, after), [])
    const noted = new Set(after.get('audit_unsealed')!.map(row => row.row_id))
    for (const { id } of after.get('audit_logs')!)
      assert.ok(noted.has(id), 'rows from before the upgrade will be sealed')
  })

test('a lost row and a changed value are detected', () => {
  const before = new Map([['apps', [{ id: 1, name: 'a' }]]])
  assert.deepEqual(lossesOf(before, new Map([['apps', [{ id: 1, name: 'a', port: null }]]])), [])
  assert.equal(lossesOf(before, new Map([['apps', [{ id: 1, name: 'b' }]]])).length, 1)
  assert.equal(lossesOf(before, new Map()).length, 1)
})
