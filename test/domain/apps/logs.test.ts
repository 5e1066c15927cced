import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { appLogs } from '../../../drizzle/schema.ts'
import { createApp } from '../../../src/domain/apps/apps.ts'
import {
  insertAppLogs,
  keptSince,
  lastLoggedAt,
  listAppLogs,
  type NewAppLog,
  newestAppLog,
  readAppLogs,
  sameLine,
  trimAppLogs
} from '../../../src/domain/apps/logs.ts'
import type { Db } from '../../../src/domain/base/db.ts'
import { addTeam, openDatabase } from '../support.ts'

async function addApp(db: Db): Promise<string> {
  return (await createApp(db, (await addTeam(db)).id, { name: 'x' })).id
}

const START = Date.parse('2030-01-01T00:00:00Z')

function line(appId: string, message: string, more: Partial<NewAppLog> = {}): NewAppLog {
  return {
    appId,
    deploymentId: null,
    at: new Date(START),
    level: 'info',
    source: 'app',
    region: 'iad',
    instance: 'i1',
    message,
    ...more
  }
}

const messages = (lines: readonly { message: string }[]) => lines.map(({ message }) => message)

test('lines are read in the order they were written, separately for each app', async t => {
  const db = await openDatabase(t)
  const [one, other] = [await addApp(db), await addApp(db)]
  assert.equal(await newestAppLog(db, one), 0)
  await insertAppLogs(db, [line(one, 'a'), line(other, 'x'), line(one, 'b', { level: 'error' })])
  await insertAppLogs(db, [line(one, 'c')])
  const lines = await readAppLogs(db, one, 0, 10)
  assert.deepEqual(messages(lines), ['a', 'b', 'c'])
  assert.deepEqual(messages(await readAppLogs(db, one, lines[0]!.id, 1)), ['b'])
  assert.equal(await newestAppLog(db, one), lines[2]!.id)
  const { id: _, ...first } = lines[0]!
  const { appId: __, ...given } = line(one, 'a')
  assert.deepEqual(first, given)
})

test('log injection is prevented: control characters are removed, and lines are limited', async t => {
  const db = await openDatabase(t)
  const appId = await addApp(db)
  const hostile = {
    level: 'x"><script>' as 'info',
    source: 'root' as 'app',
    region: 'a region that is long',
    instance: 'i'.repeat(100)
  }
  await insertAppLogs(db, [
    line(appId, '\x1b[2Jcleared\0\ud800\r\nid: 1\n\n'),
    line(appId, '<script>alert(1)</script>', hostile),
    line(appId, `${'é'.repeat(20_000)}`)
  ])
  const [first, second, third] = await readAppLogs(db, appId, 0, 10)
  assert.equal(first!.message, 'cleared\ufffd\nid: 1')
  assert.equal(second!.message, '<script>alert(1)</script>', 'text is text; pages escape it')
  assert.deepEqual(
    [second!.level, second!.source, second!.region?.length, second!.instance?.length],
    ['info', 'app', 10, 64]
  )
  assert.equal(third!.message.length, 16_384)
})

test('of control sequences only colours are kept, which neither affect searches nor are cut apart', async t => {
  const db = await openDatabase(t)
  const appId = await addApp(db)
  const red = '\x1b[31m'
  await insertAppLogs(db, [
    line(appId, `${red}er\x1b[0mror\x1b[2J\x1b]8;;javascript:alert(1)\x07 here`),
    line(appId, `${'x'.repeat(16_380)}${red}${'y'.repeat(50)}`)
  ])
  const [first, second] = await readAppLogs(db, appId, 0, 10)
  assert.equal(first!.message, `${red}er\x1b[0mror here`)
  assert.match(second!.message, /x…$/)
  const { items } = await listAppLogs(db, appId, { search: 'ERROR HERE' }, {})
  assert.deepEqual(
    items.map(({ id }) => id),
    [first!.id]
  )
})

test('lines of a deleted app are dropped, and others in the batch are kept', async t => {
  const db = await openDatabase(t)
  const appId = await addApp(db)
  await insertAppLogs(db, [line(randomUUID(), 'gone'), line(appId, 'kept')])
  assert.deepEqual(messages(await db.select().from(appLogs)), ['kept'])
})

test('the log of an app is limited to its newest lines', async t => {
  const db = await openDatabase(t)
  const [one, other] = [await addApp(db), await addApp(db)]
  await insertAppLogs(db, [line(other, 'x')])
  await insertAppLogs(
    db,
    Array.from({ length: 12 }, (_, i) => line(one, String(i)))
  )
  assert.equal(await trimAppLogs(db, one, 5), 7)
  assert.equal(await trimAppLogs(db, one, 5), 0)
  assert.deepEqual(messages(await readAppLogs(db, one, 0, 100)), ['7', '8', '9', '10', '11'])
  assert.equal((await readAppLogs(db, other, 0, 100)).length, 1)
})

test('the history is read newest first, in pages, by time, level and text', async t => {
  const db = await openDatabase(t)
  const appId = await addApp(db)
  const at = (minutes: number) => new Date(START + minutes * 60_000)
  await insertAppLogs(db, [
    line(appId, 'Started', { at: at(0) }),
    line(appId, '100% done_now', { at: at(1), level: 'warn' }),
    line(appId, '100 donexnow', { at: at(2) }),
    line(appId, 'failed', { at: at(3), level: 'error' })
  ])
  const list = async (filters: Parameters<typeof listAppLogs>[2], page = {}) => listAppLogs(db, appId, filters, page)
  const first = await list({}, { limit: 3 })
  assert.deepEqual(messages(first.items), ['failed', '100 donexnow', '100% done_now'])
  const second = await list({}, { limit: 3, cursor: first.nextCursor! })
  assert.deepEqual([messages(second.items), second.nextCursor], [['Started'], null])
  assert.deepEqual(messages((await list({ since: at(1), until: at(3) })).items), ['100 donexnow', '100% done_now'])
  assert.deepEqual(messages((await list({ level: 'error' })).items), ['failed'])
  assert.deepEqual(messages((await list({ search: 'START' })).items), ['Started'])
  assert.deepEqual(messages((await list({ search: '0% done_' })).items), ['100% done_now'])
  for (const cursor of [
    'AAAA',
    Buffer.from('-1').toString('base64url'),
    Buffer.from('9'.repeat(20)).toString('base64url')
  ])
    await assert.rejects(list({}, { cursor }), { code: 'VALIDATION_ERROR' })
})

test('two reports of one line are recognised as the same', async t => {
  const db = await openDatabase(t)
  const appId = await addApp(db)
  assert.equal(await lastLoggedAt(db, appId), null)
  const said = line(appId, 'x'.repeat(20_000), { instance: '\x1b[0mi' })
  await insertAppLogs(db, [said, line(appId, 'early', { at: new Date(START - 1) })])
  assert.deepEqual(await lastLoggedAt(db, appId), said.at)
  assert.deepEqual(await keptSince(db, appId, said.at), [sameLine(said)])
})
