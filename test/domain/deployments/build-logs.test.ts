import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { eq, sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import fc from 'fast-check'
import postgres from 'postgres'
import * as schema from '../../../drizzle/schema.ts'
import { createApp } from '../../../src/domain/apps/apps.ts'
import type { Db } from '../../../src/domain/base/db.ts'
import {
  BUILD_LOG_CHANNEL,
  createBuildLog,
  readBuildLog,
  readProgress
} from '../../../src/domain/deployments/build-logs.ts'
import { freshDatabase, terminateBackends } from '../../support/database.ts'
import { eventually } from '../../support/eventually.ts'
import { thoroughly } from '../../support/thorough.ts'
import { addTeam } from '../support.ts'

async function setUp(t: TestContext) {
  const url = await freshDatabase(t)
  const { client, db } = connect(t, url)
  const appId = (await createApp(db, (await addTeam(db)).id, { name: 'x' })).id
  const [deployment] = await db.insert(schema.deployments).values({ appId }).returning()
  return { url, client, db, appId, id: deployment!.id }
}

function connect(t: TestContext, url: string) {
  // Otherwise the driver fetches types on each new connection, and an error during that is not handled.
  const client = postgres(url, { max: 4, fetch_types: false, onnotice: () => {} })
  t.after(() => client.end({ timeout: 1 }))
  return { client, db: drizzle({ client, schema, casing: 'snake_case' }) as Db }
}

const textOf = async (db: Db, id: string) => (await readBuildLog(db, id, 0, 10_000)).map(({ text }) => text).join('')

test('output can be read a moment later, in order, with the status at that time', async t => {
  const { db, id } = await setUp(t)
  const log = createBuildLog(db, id)
  log.enter('cloning')
  log.say('Cloning int')
  log.say('o x\n')
  await eventually(
    () => textOf(db, id),
    text => text === 'Cloning into x\n'
  )
  log.enter('building')
  log.say('built\n')
  await log.close()
  const chunks = await readBuildLog(db, id)
  assert.deepEqual(
    chunks.map(({ at, ...chunk }) => chunk),
    [
      { seq: 1, phase: 'cloning', text: 'Cloning into x\n' },
      { seq: 2, phase: 'building', text: 'built\n' }
    ]
  )
  assert.deepEqual(
    (await readBuildLog(db, id, 1)).map(({ seq }) => seq),
    [2]
  )
})

test('listeners are notified which log has grown', async t => {
  const { client, db, id } = await setUp(t)
  const { promise: told, resolve: tell } = Promise.withResolvers<string>()
  await client.listen(BUILD_LOG_CHANNEL, tell)
  const log = createBuildLog(db, id)
  log.say('x\n')
  assert.equal(await told, id)
  await log.close()
})

test('a flood of output is stored in chunks of limited size', async t => {
  const { db, id } = await setUp(t)
  const log = createBuildLog(db, id)
  const text = `${'😀'.repeat(100_000)}\n`
  log.say(text)
  await log.close()
  const chunks = await readBuildLog(db, id, 0, 1_000)
  assert.ok(chunks.every(chunk => chunk.text.length <= 8_192))
  assert.equal(chunks.map(chunk => chunk.text).join(''), text)
})

test('the log of a build is limited across all attempts, with a single notice', async t => {
  const { db, id } = await setUp(t)
  for (let attempt = 1; attempt <= 3; attempt++) {
    const log = createBuildLog(db, id, { maxLength: 10_000 })
    for (let line = 0; line < 800; line++) log.say(`attempt ${attempt}\n`)
    await log.close()
  }
  const text = await textOf(db, id)
  assert.ok(text.length < 10_000 + 100, String(text.length))
  assert.equal(text.match(/The log was cut off here/g)?.length, 1)
})

test('secrets never appear in deploy logs, wherever the output is split', async t => {
  const { db, id } = await setUp(t)
  const secret = 'correct horse/battery+staple'
  const log = createBuildLog(db, id, { hidden: [secret] })
  log.hide('later-one')
  const said = `a ${secret} b ${encodeURIComponent(secret)} c ${Buffer.from(`x:${secret}`).toString('base64')} later-one
https://x-access-token:ghs_${'x'.repeat(36)}@github.com/acme/x\n`
  for (const character of said) log.say(character)
  await log.close()
  const text = await textOf(db, id)
  assert.match(text, /^a \*\*\* b \*\*\* c \S*\*\*\*\S* \*\*\*\nhttps:\/\/x-access-token:\*\*\*@github.com/)
  for (const part of ['horse', 'battery', 'staple', 'later', 'ghs_']) assert.ok(!text.includes(part), part)
})

test('control sequences and unstorable characters never enter a log', async t => {
  const { db, id } = await setUp(t)
  const log = createBuildLog(db, id)
  log.say('\x1b[2J\x1b[1;31mred\x1b[0m\0 <b>bold</b>\r\nnext\ud800\u202E\n')
  await log.close()
  assert.equal(await textOf(db, id), 'red <b>bold</b>\nnext\ufffd\n')
})

test('a log equals the output, however it was split', async t => {
  const { db, appId } = await setUp(t)
  await fc.assert(
    fc.asyncProperty(fc.array(fc.string({ unit: 'grapheme', maxLength: 50 }), { maxLength: 20 }), async parts => {
      const [{ id } = { id: '' }] = await db.insert(schema.deployments).values({ appId }).returning()
      const log = createBuildLog(db, id)
      for (const part of parts) log.say(part)
      await log.close()
      const whole = createBuildLog(db, id)
      whole.say(parts.join(''))
      const before = await textOf(db, id)
      await whole.close()
      assert.equal(await textOf(db, id), before + before)
    }),
    { numRuns: thoroughly(20, 300) }
  )
})

test('an attempt after a crash appends to the log of the previous one', async t => {
  const { db, id } = await setUp(t)
  const first = createBuildLog(db, id)
  first.say('first\n')
  await eventually(
    () => textOf(db, id),
    text => text !== ''
  )
  const second = createBuildLog(db, id)
  second.say('second\n')
  await second.close()
  first.say('the first is not dead at all\n')
  await first.close()
  const chunks = await readBuildLog(db, id)
  assert.deepEqual(
    chunks.map(({ seq, text }) => [seq, text]),
    [
      [1, 'first\n'],
      [2, 'second\n'],
      [3, 'the first is not dead at all\n']
    ]
  )
})

test('a temporary database outage neither loses nor duplicates lines', async t => {
  const { url, db, id } = await setUp(t)
  const log = createBuildLog(db, id)
  const reader = connect(t, url).db
  let said = ''
  for (let line = 1; line <= 40; line++) {
    log.say(`line ${line}\n`)
    said += `line ${line}\n`
    if (line % 10 === 5)
      await eventually(
        () => textOf(reader, id).catch(() => ''),
        text => text === said
      )
    if (line % 10 === 0) await terminateBackends(url)
  }
  await log.close()
  // The connections of `db` may have been cut off as well, without knowing it yet.
  assert.equal(await textOf(connect(t, url).db, id), said)
})

test('closing waits for an unreachable database only until its deadline', async t => {
  const client = postgres('postgres://none:none@127.0.0.1:1/none', { connect_timeout: 1, onnotice: () => {} })
  t.after(() => client.end({ timeout: 0 }))
  const log = createBuildLog(drizzle({ client, schema, casing: 'snake_case' }) as Db, randomUUID(), { patience: 200 })
  log.say('x\n')
  await log.close()
})

test('the log of a deleted deployment ends', async t => {
  const { db, id } = await setUp(t)
  const log = createBuildLog(db, id)
  await db.delete(schema.deployments).where(eq(schema.deployments.id, id))
  log.say('x\n')
  await log.close()
  assert.equal(await textOf(db, id), '')
})

test('a deployment’s log ends after its status is final and its last lines have arrived', async t => {
  const { db, appId, id } = await setUp(t)
  assert.deepEqual(await readProgress(db, appId, id), { status: 'pending', state: 'active' })
  await db.update(schema.deployments).set({ status: 'build_failed' }).where(eq(schema.deployments.id, id))
  assert.deepEqual(await readProgress(db, appId, id), { status: 'build_failed', state: 'settling' })
  await db.execute(sql`alter table deployments disable trigger touch_updated_at`)
  await db.execute(sql`update deployments set updated_at = now() - interval '5 seconds'`)
  assert.deepEqual(await readProgress(db, appId, id), { status: 'build_failed', state: 'over' })
})

test('a deployment of another app is not found', async t => {
  const { db, id } = await setUp(t)
  await assert.rejects(readProgress(db, randomUUID(), id), { code: 'NOT_FOUND' })
  for (const none of ['x', randomUUID()])
    await assert.rejects(readProgress(db, randomUUID(), none), { code: 'NOT_FOUND' })
})
