import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { eq, sql } from 'drizzle-orm'
import { auditLogs, deploymentSecrets, deployments, envVars, secretLedger } from '../../../drizzle/schema.ts'
import { generateKey, parseKeyring } from '../../../src/config/keyring.ts'
import { createApp } from '../../../src/domain/apps/apps.ts'
import { setEnvVar } from '../../../src/domain/apps/env-vars.ts'
import type { Db } from '../../../src/domain/base/db.ts'
import { type Keyring, SecretBox } from '../../../src/domain/base/secret-box.ts'
import { noteSecrets, readSecretAges, type ServerSecret } from '../../../src/domain/secrets/ledger.ts'
import { countSealed, rotateSecrets } from '../../../src/domain/secrets/rotation.ts'
import { addTeam, auditLog, openDatabase } from '../support.ts'

const DAY = 86_400_000
const keyOf = (id: string) => `${id}:${generateKey().split(':')[1]}`
const [OLD, NEW, LOST] = [keyOf('old'), keyOf('new'), keyOf('lost')]
const oldRing = parseKeyring(OLD)
const ring = parseKeyring(`${NEW},${OLD}`)
const quiet = { actor: 'test' }

async function setUp(t: TestContext, vars = 5) {
  const db = await openDatabase(t)
  const appId = (await createApp(db, (await addTeam(db)).id, { name: 'x' })).id
  await addVars(db, oldRing, appId, vars)
  return { db, appId }
}

async function addVars(db: Db, sealing: Keyring, appId: string, many: number, prefix = 'V') {
  const box = new SecretBox(sealing)
  const rows = Array.from({ length: many }, (_, i) => {
    const key = `${prefix}${i}`
    const { keyId, nonce, ciphertext } = box.seal(`value ${prefix}${i}`, { appId, key })
    return { appId, key, keyId, nonce, valueEncrypted: ciphertext }
  })
  if (rows.length > 0) await db.insert(envVars).values(rows)
}

async function addSnapshot(db: Db, appId: string, text: string): Promise<string> {
  const [{ id } = { id: '' }] = await db.insert(deployments).values({ appId }).returning({ id: deployments.id })
  const { keyId, nonce, ciphertext } = new SecretBox(oldRing).seal(text, { appId, key: `deployment ${id}` })
  await db.insert(deploymentSecrets).values({ deploymentId: id, keyId, nonce, valueEncrypted: ciphertext })
  return id
}

/** The values of all variables of an app, decrypted with the newest key only. */
async function valuesOf(db: Db, appId: string, opening = parseKeyring(NEW)): Promise<Record<string, string>> {
  const rows = await db.select().from(envVars).where(eq(envVars.appId, appId)).orderBy(envVars.key)
  const box = new SecretBox(opening)
  return Object.fromEntries(
    rows.map(({ key, keyId, nonce, valueEncrypted: ciphertext }) => [
      key,
      box.open({ keyId, nonce, ciphertext }, { appId, key })
    ])
  )
}

test('everything encrypted with older keys is re-encrypted with the newest one, and decrypts to the same values', async t => {
  const { db, appId } = await setUp(t, 250)
  const snapshot = await addSnapshot(db, appId, '{"A":"x"}')
  const progress: number[] = []
  const rotation = await rotateSecrets(db, auditLog, ring, {
    ...quiet,
    onProgress: (_table, count) => progress.push(count)
  })
  assert.deepEqual(rotation, {
    keyId: 'new',
    rotated: { env_vars: 250, deployment_secrets: 1 },
    damaged: [],
    left: []
  })
  assert.deepEqual(progress, [100, 200, 250, 1])
  const values = await valuesOf(db, appId)
  assert.ok(Object.entries(values).every(([key, value]) => value === `value ${key}`))
  const [row] = await db.select().from(deploymentSecrets)
  const { keyId, nonce, valueEncrypted: ciphertext } = row!
  const box = new SecretBox(parseKeyring(NEW))
  assert.equal(box.open({ keyId, nonce, ciphertext }, { appId, key: `deployment ${snapshot}` }), '{"A":"x"}')
})

test('a rotation is audited, but not if it changes nothing', async t => {
  const { db } = await setUp(t)
  await rotateSecrets(db, auditLog, ring, quiet)
  const again = await rotateSecrets(db, auditLog, ring, quiet)
  assert.deepEqual(again.rotated, { env_vars: 0, deployment_secrets: 0 })
  const events = await db.select().from(auditLogs).where(eq(auditLogs.action, 'rotate'))
  assert.deepEqual(
    events.map(({ actor, resource, resourceName, details }) => ({ actor, resource, resourceName, details })),
    [{ actor: 'test', resource: 'secret', resourceName: 'ENCRYPTION_KEYS', details: { keyId: 'new' } }]
  )
})

test('a value written during the rotation is never replaced by an older one', async t => {
  const { db, appId } = await setUp(t, 120)
  let isOver = false
  const writing = (async () => {
    for (let round = 0; !isOver; round++)
      for (const [key, sealing] of [
        ['V3', ring],
        ['V50', oldRing],
        ['V119', ring]
      ] as const)
        await setEnvVar(db, new SecretBox(sealing), appId, key, `round ${round}`)
  })()
  const lastRead: Record<string, string>[] = []
  for (let run = 0; run < 5; run++) {
    await rotateSecrets(db, auditLog, ring, quiet)
    lastRead.push(await valuesOf(db, appId, ring))
  }
  isOver = true
  await writing
  await rotateSecrets(db, auditLog, ring, quiet)
  const rounds = [...lastRead, await valuesOf(db, appId)].map(({ V50 }) => Number(/\d+$/.exec(V50!)![0]))
  assert.deepEqual(
    rounds,
    rounds.toSorted((a, b) => a - b),
    'no round comes after a later one'
  )
})

test('two concurrent rotations, and servers with either key, do not interfere', async t => {
  const { db, appId } = await setUp(t, 300)
  const [one, other] = await Promise.all([
    rotateSecrets(db, auditLog, ring, quiet),
    rotateSecrets(db, auditLog, ring, quiet)
  ])
  assert.equal(one.rotated.env_vars! + other.rotated.env_vars!, 300)
  assert.equal(Object.keys(await valuesOf(db, appId)).length, 300)
})

test('an interrupted rotation is continued by the next one', async t => {
  const { db, appId } = await setUp(t, 250)
  const cutOff = () => {
    throw new Error('killed')
  }
  await assert.rejects(rotateSecrets(db, auditLog, ring, { ...quiet, onProgress: cutOff }), /killed/)
  const counts = await countSealed(db, ring)
  assert.deepEqual(
    counts.map(({ keyId, rows, key }) => [keyId, rows, key]),
    [
      ['new', 100, 'current'],
      ['old', 150, 'old']
    ]
  )
  assert.equal((await rotateSecrets(db, auditLog, ring, quiet)).rotated.env_vars, 150)
  assert.equal(Object.keys(await valuesOf(db, appId)).length, 250)
})

test('values of a missing key and tampered values are left alone and reported', async t => {
  const { db, appId } = await setUp(t, 3)
  await addVars(db, parseKeyring(LOST), appId, 2, 'LOST')
  const [broken] = await db
    .update(envVars)
    .set({ valueEncrypted: Buffer.alloc(40) })
    .where(eq(envVars.key, 'V1'))
    .returning({ id: envVars.id })
  const rotation = await rotateSecrets(db, auditLog, ring, quiet)
  assert.equal(rotation.rotated.env_vars, 2)
  assert.deepEqual(rotation.damaged, [{ table: 'env_vars', id: broken!.id }])
  assert.deepEqual(rotation.left, [
    { table: 'env_vars', keyId: 'lost', rows: 2, key: 'missing' },
    { table: 'env_vars', keyId: 'old', rows: 1, key: 'old' }
  ])
})

const secret = (value: string | null, name = 'METRICS_TOKEN'): ServerSecret => ({ name, schedule: 90, value })
const agesIn = async (db: Db, days: number, value: string, opening = ring) => {
  const [age] = await readSecretAges(db, opening, [secret(value)], new Date(Date.now() + days * DAY))
  return [age!.ageDays, age!.state]
}

test('the age of a secret counts from when it was first used, against its schedule', async t => {
  const db = await openDatabase(t)
  await noteSecrets(db, auditLog, ring, [secret('s3cret'), secret(null, 'FLY_API_TOKEN')], 'start')
  await noteSecrets(db, auditLog, ring, [secret('s3cret')], 'start')
  assert.deepEqual(await agesIn(db, 0, 's3cret'), [0, 'ok'])
  assert.deepEqual(await agesIn(db, 80, 's3cret'), [80, 'due'])
  assert.deepEqual(await agesIn(db, 91, 's3cret'), [91, 'overdue'])
  const [none] = await readSecretAges(db, ring, [secret(null, 'FLY_API_TOKEN')])
  assert.deepEqual([none!.state, none!.since], ['not configured', null])
})

test('a replaced secret counts as new, and is audited', async t => {
  const db = await openDatabase(t)
  await noteSecrets(db, auditLog, ring, [secret('first')], 'start')
  await db.update(secretLedger).set({ firstSeenAt: new Date(Date.now() - 100 * DAY) })
  assert.deepEqual(await agesIn(db, 0, 'first'), [100, 'overdue'])
  await noteSecrets(db, auditLog, ring, [secret('second')], 'start')
  await noteSecrets(db, auditLog, ring, [secret('second')], 'start')
  assert.deepEqual(await agesIn(db, 0, 'second'), [0, 'ok'])
  const events = await db.select().from(auditLogs)
  assert.deepEqual(
    events.map(({ action, resourceName }) => [action, resourceName]),
    [['rotate', 'METRICS_TOKEN']]
  )
})

test('the ledger reveals nothing about weak secrets, and survives the rotation of its own key', async t => {
  const db = await openDatabase(t)
  await noteSecrets(db, auditLog, oldRing, [secret('weak')], 'start')
  const [row] = await db.select().from(secretLedger)
  const hashes = await db.execute<{ hash: string }>(
    sql`select encode(sha256(text::bytea), 'hex') as hash from unnest(array['weak', 'METRICS_TOKENweak']) as text`
  )
  assert.match(row!.fingerprint, /^[0-9a-f]{64}$/)
  assert.ok(!hashes.map(({ hash }) => hash).includes(row!.fingerprint))

  await db.update(secretLedger).set({ firstSeenAt: new Date(Date.now() - 40 * DAY) })
  await noteSecrets(db, auditLog, ring, [secret('weak')], 'start')
  assert.deepEqual(await agesIn(db, 0, 'weak', parseKeyring(NEW)), [40, 'ok'])
  assert.deepEqual(await db.select().from(auditLogs), [])
})
