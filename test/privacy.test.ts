import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { is } from 'drizzle-orm'
import { getTableConfig, PgTable } from 'drizzle-orm/pg-core'
import * as schema from '../drizzle/schema.ts'
import { GRACE_DAYS } from '../src/domain/privacy/leaving.ts'
import { RETENTION_DAYS } from '../src/domain/privacy/retention.ts'

const document = await readFile(join(import.meta.dirname, '../docs/privacy.md'), 'utf8')
const [personalPart = '', otherPart = ''] = document.split('## Not personal')

const snakeCase = (name: string) => name.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`)

function columnsOfSchema(): string[] {
  const tables = Object.values(schema).filter(value => is(value, PgTable))
  return tables.flatMap(table => {
    const { name, columns } = getTableConfig(table as PgTable)
    return columns.map(column => `${name}.${snakeCase(column.name)}`)
  })
}

const personal = [...personalPart.matchAll(/^\| `(\w+\.\w+)` \|/gm)].map(([, column]) => column!)
const others = [...otherPart.matchAll(/^\| `(\w+)` \| (.*) \|$/gm)].flatMap(([, table, columns]) =>
  [...columns!.matchAll(/`(\w+)`/g)].map(([, column]) => `${table}.${column}`)
)

test('the document lists every column of every table once, as personal or not', () => {
  assert.deepEqual([...personal, ...others].toSorted(), columnsOfSchema().toSorted())
})

test('every personal field has a purpose and a retention', () => {
  for (const line of personalPart.split('\n').filter(line => line.startsWith('| `'))) {
    const [, , why = '', howLong = ''] = line.split('|').map(cell => cell.trim())
    assert.ok(why.length > 5 && howLong.length > 5, line)
  }
})

test('the numbers of the document match the code', () => {
  const { appLogs, audit, buildLogs, errors, invitations, tokens, usage, webhookDeliveries } = RETENTION_DAYS
  assert.match(document, new RegExp(`For ${GRACE_DAYS} days the code in the reply restores`))
  assert.match(document, new RegExp(`${audit} days`))
  assert.match(document, new RegExp(`\\b${invitations} days after it ends`))
  assert.match(document, new RegExp(`${tokens} days after it is revoked`))
  assert.match(document, new RegExp(`errors, which contain no personal data, for ${errors} days`))
  assert.match(document, new RegExp(`kept for ${usage / 365} years`))
  assert.match(document, new RegExp(`webhook_deliveries.payload.*\\| ${webhookDeliveries} days \\|`))
  assert.match(document, new RegExp(`build_log_chunks.text.*\\| ${buildLogs} days \\|`))
  assert.match(document, new RegExp(`app_logs.message.*\\| ${appLogs} days,`))
})
