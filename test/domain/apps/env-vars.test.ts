import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { envVars } from '../../../drizzle/schema.ts'
import { createApp } from '../../../src/domain/apps/apps.ts'
import { deleteEnvVar, listEnvVars, setEnvVar } from '../../../src/domain/apps/env-vars.ts'
import type { Db } from '../../../src/domain/base/db.ts'
import { SecretBox } from '../../../src/domain/base/secret-box.ts'
import { addTeam, openDatabase } from '../support.ts'

const key = randomBytes(32)
const box = new SecretBox({ current: { id: 'k1', key }, keys: new Map([['k1', key]]) })

async function addApp(db: Db): Promise<string> {
  return (await createApp(db, (await addTeam(db)).id, { name: 'x' })).id
}

test('stores a value that only the right key, app and name decrypt, and reveals only its name', async t => {
  const db = await openDatabase(t)
  const appId = await addApp(db)
  const { createdAt, updatedAt, ...told } = await setEnvVar(db, box, appId, 'API_KEY', 'hunter2')
  assert.deepEqual(told, { key: 'API_KEY', version: 1, buildTime: false, created: true })

  const [row] = await db.select().from(envVars)
  assert.equal(row!.keyId, 'k1')
  assert.equal(row!.nonce.length, 12)
  assert.ok(!row!.valueEncrypted.includes('hunter2'))
  const sealed = { keyId: row!.keyId, nonce: row!.nonce, ciphertext: row!.valueEncrypted }
  assert.equal(box.open(sealed, { appId, key: 'API_KEY' }), 'hunter2')
  assert.deepEqual((await listEnvVars(db, appId)).items, [
    { key: 'API_KEY', version: 1, buildTime: false, createdAt, updatedAt }
  ])
})

test('setting a variable again replaces its value with a new nonce, and reports an update', async t => {
  const db = await openDatabase(t)
  const appId = await addApp(db)
  const first = await setEnvVar(db, box, appId, 'A', 'one')
  const [before] = await db.select().from(envVars)
  const second = await setEnvVar(db, box, appId, 'A', 'two')
  const [after, ...more] = await db.select().from(envVars)
  assert.equal(more.length, 0)
  assert.equal(second.created, false)
  assert.deepEqual(second.createdAt, first.createdAt)
  assert.ok(second.updatedAt > first.updatedAt)
  assert.notDeepEqual(after!.nonce, before!.nonce)
  const sealed = { keyId: after!.keyId, nonce: after!.nonce, ciphertext: after!.valueEncrypted }
  assert.equal(box.open(sealed, { appId, key: 'A' }), 'two')
})

test('counts the values of a variable, and stores the build flag with each value', async t => {
  const db = await openDatabase(t)
  const appId = await addApp(db)
  const set = async (value: string, buildTime?: boolean) => {
    const { version, buildTime: isSeen } = await setEnvVar(db, box, appId, 'A', value, buildTime)
    return [version, isSeen]
  }
  assert.deepEqual(
    [await set('one'), await set('two', true), await set('two')],
    [
      [1, false],
      [2, true],
      [3, false]
    ]
  )
})

test('refuses reserved names with a reason', async t => {
  const db = await openDatabase(t)
  const appId = await addApp(db)
  for (const name of ['PORT', 'PATH', 'HOME', 'SHELL', 'PRIMARY_REGION', 'FLY_REGION', 'INTERNAL_X'])
    await assert.rejects(setEnvVar(db, box, appId, name, 'x'), { code: 'VALIDATION_ERROR', detail: /^key: .*reserved/ })
  for (const name of ['PORTS', 'MY_PATH', 'FLYING']) await setEnvVar(db, box, appId, name, 'x')
})

test('takes values of up to 64 KiB, counted in bytes', async t => {
  const db = await openDatabase(t)
  const appId = await addApp(db)
  await setEnvVar(db, box, appId, 'FULL', 'é'.repeat(32_768))
  await assert.rejects(setEnvVar(db, box, appId, 'OVER', `${'é'.repeat(32_768)}x`), {
    code: 'VALIDATION_ERROR',
    detail: /65536 bytes/
  })
})

test('limits the number of variables, and existing ones can still be changed', async t => {
  const db = await openDatabase(t)
  const appId = await addApp(db)
  const sealed = { valueEncrypted: Buffer.alloc(16), nonce: Buffer.alloc(12), keyId: 'k1' }
  await db.insert(envVars).values(Array.from({ length: 500 }, (_, i) => ({ appId, key: `V${i}`, ...sealed })))
  await assert.rejects(setEnvVar(db, box, appId, 'ONE_MORE', 'x'), { code: 'CONFLICT' })
  assert.equal((await setEnvVar(db, box, appId, 'V7', 'x')).created, false)
})

test('an app deleted at the same moment is not found', async t => {
  const db = await openDatabase(t)
  await assert.rejects(setEnvVar(db, box, randomUUID(), 'A', 'x'), { code: 'NOT_FOUND', message: 'app not found' })
})

test('deletes a variable of its own app only', async t => {
  const db = await openDatabase(t)
  const [one, other] = [await addApp(db), await addApp(db)]
  await setEnvVar(db, box, one, 'A', 'x')
  await assert.rejects(deleteEnvVar(db, other, 'A'), { code: 'NOT_FOUND' })
  await deleteEnvVar(db, one, 'A')
  assert.deepEqual((await listEnvVars(db, one)).items, [])
  await assert.rejects(deleteEnvVar(db, one, 'A'), { code: 'NOT_FOUND' })
})

test('an app may have its own DATABASE_URL, and a limited number of bytes of env vars', async t => {
  const db = await openDatabase(t)
  const appId = await addApp(db)
  await setEnvVar(db, box, appId, 'DATABASE_URL', 'postgres://db.example.com/app')
  for (const name of ['A', 'B', 'C']) await setEnvVar(db, box, appId, name, 'x'.repeat(65_536))
  await assert.rejects(setEnvVar(db, box, appId, 'D', 'x'.repeat(65_536)), { code: 'CONFLICT' })
  await setEnvVar(db, box, appId, 'C', 'y'.repeat(65_536))
})
