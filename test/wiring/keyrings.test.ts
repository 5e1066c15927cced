import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eq } from 'drizzle-orm'
import { secretLedger } from '../../drizzle/schema.ts'
import secrets from '../../src/wiring/parts/secrets.ts'
import { testApp } from '../support/app.ts'
import { eventually } from '../support/eventually.ts'

test('in production, an instance with keys that others lack is not ready after the hourly comparison', async t => {
  const { app, config, as } = await testApp(t)
  const comparison = (production: boolean) =>
    secrets.chores!({ ...config, production }, app).find(({ name }) => name === 'keyrings')!
  const compare = (production: boolean) => comparison(production).run(AbortSignal.timeout(10_000))
  const readiness = async () => (await as(null, 'GET', '/ready')).json()
  assert.equal(comparison(true).every, 3_600_000)

  await compare(true)
  assert.deepEqual(await readiness(), { status: 'ready' })

  const name = 'ENCRYPTION_KEYS/keys'
  const own = await app.db.select().from(secretLedger).where(eq(secretLedger.name, name))
  await app.db
    .update(secretLedger)
    .set({ fingerprint: 'f'.repeat(64) })
    .where(eq(secretLedger.name, name))
  await compare(false)
  assert.deepEqual(await readiness(), { status: 'ready' }, 'in development it is only logged')
  await assert.rejects(async () => compare(true), /^Error: ENCRYPTION_KEYS: has none of the keys/)
  await eventually(readiness, state => JSON.stringify(state) === '{"status":"not_ready","reasons":["keys"]}')

  await app.db.update(secretLedger).set({ fingerprint: own[0]!.fingerprint }).where(eq(secretLedger.name, name))
  await compare(true)
  await eventually(readiness, state => state.status === 'ready')
})
