import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildApp } from '../../../src/app.ts'
import { generateKey, parseKeyring } from '../../../src/config/keyring.ts'
import { checkKeyring } from '../../../src/domain/secrets/keyring-check.ts'
import { testConfig } from '../../support/app.ts'
import { freshDatabase } from '../../support/database.ts'
import { databaseApp } from '../../support/database-app.ts'

const check = (db: Parameters<typeof checkKeyring>[0], text: string) =>
  checkKeyring(db, 'SESSION_KEYS', parseKeyring(text))

test('a key made on the same day has another id', () => {
  const now = new Date()
  assert.notEqual(generateKey(now).split(':')[0], generateKey(now).split(':')[0])
})

test('a ring with a known key is accepted, one without any is not', async t => {
  const { app } = await databaseApp(t)
  const [first, second, third] = [generateKey(), generateKey(), generateKey()]
  assert.equal(await check(app.db, first), undefined)
  assert.equal(await check(app.db, `${second},${first}`), undefined)
  assert.equal(await check(app.db, second), undefined)
  assert.match((await check(app.db, third))!, /^SESSION_KEYS: has none of the keys/)
  assert.equal(await check(app.db, second), undefined)
})

test('a key with the id of another one is detected, even next to a known one', async t => {
  const { app } = await databaseApp(t)
  const [old, one, other] = [generateKey(), generateKey(), generateKey()]
  const renamed = `${one.split(':')[0]}:${other.split(':')[1]}`
  assert.equal(await check(app.db, `${one},${old}`), undefined)
  assert.match(
    (await check(app.db, `${renamed},${old}`))!,
    /key ".*" differs from the key with this id on other instances/
  )
})

test('of two instances that start together with different keys on an empty database, one is refused', async t => {
  const { app } = await databaseApp(t)
  const problems = await Promise.all([check(app.db, generateKey()), check(app.db, generateKey())])
  assert.equal(problems.filter(problem => problem !== undefined).length, 1)
})

test('production does not start with keys that other instances do not have', async t => {
  const url = await freshDatabase(t)
  const start = async () => {
    const app = await buildApp({ ...(await testConfig(t, { DATABASE_URL: url })), production: true })
    t.after(() => app.close())
    await app.ready()
    await app.startup.completed
  }
  await start()
  await assert.rejects(start(), /SESSION_KEYS: has none of the keys/)
})
