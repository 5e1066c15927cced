import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { eq, sql } from 'drizzle-orm'
import { apps, type DeploymentStatus, deploymentSecrets, deployments, envVars } from '../../../drizzle/schema.ts'
import { createApp } from '../../../src/domain/apps/apps.ts'
import { readBuildEnv, readSnapshot, snapshotEnv } from '../../../src/domain/apps/env-snapshot.ts'
import { setEnvVar } from '../../../src/domain/apps/env-vars.ts'
import type { Db } from '../../../src/domain/base/db.ts'
import { SecretBox } from '../../../src/domain/base/secret-box.ts'
import {
  cancelDeployment,
  findDeployment,
  findRollbackTarget,
  imagesInUse,
  insertDeployment,
  listDeployments,
  type NewDeployment,
  platformState
} from '../../../src/domain/deployments/deployments.ts'
import {
  advance,
  ClaimLost,
  claimDeployment,
  confirmClaim,
  heldClaims,
  nameApp,
  promote
} from '../../../src/domain/deployments/work.ts'
import { addTeam, openDatabase } from '../support.ts'

const key = randomBytes(32)
const box = new SecretBox({ current: { id: 'k1', key }, keys: new Map([['k1', key]]) })

async function addApp(db: Db): Promise<string> {
  return (await createApp(db, (await addTeam(db)).id, { name: 'x' })).id
}

const create = (db: Db, appId: string, request: Partial<NewDeployment> = {}) =>
  db.transaction(tx => insertDeployment(tx, { appId, trigger: 'manual', triggeredBy: null, ...request }))

/** A deployment that was put directly into a status. */
async function add(db: Db, appId: string, status: DeploymentStatus, image: string | null = null): Promise<string> {
  const values = { appId, status, image, createdAt: sql`clock_timestamp()` }
  const [row] = await db.insert(deployments).values(values).returning({ id: deployments.id })
  return row!.id
}

const statusOf = async (db: Db, id: string) =>
  (await db.select().from(deployments).where(eq(deployments.id, id)))[0]?.status

test('the newest deployment of an app wins: unfinished ones are cancelled, finished ones stay', async t => {
  const db = await openDatabase(t)
  const [appId, other] = [await addApp(db), await addApp(db)]
  const [live, building, elsewhere] = [
    await add(db, appId, 'live', 'a'),
    await add(db, appId, 'building'),
    await add(db, other, 'building')
  ]
  const { deployment, cancelled } = await create(db, appId)
  assert.deepEqual(
    cancelled.map(({ id, from, to }) => [id, from, to]),
    [[building, 'building', 'cancelled']]
  )
  assert.equal(deployment.status, 'pending')
  assert.ok(deployment.createdAt <= deployment.updatedAt)
  for (const [id, status] of [
    [live, 'live'],
    [building, 'cancelled'],
    [elsewhere, 'building']
  ] as const)
    assert.equal(await statusOf(db, id), status)
  const { errorMessage } = await findDeployment(db, appId, building)
  assert.equal(errorMessage, 'A newer deployment took its place.')
})

test('of many concurrent deploys exactly one, the newest, is in progress, and none waits forever', async t => {
  const db = await openDatabase(t)
  const appId = await addApp(db)
  await Promise.all(Array.from({ length: 8 }, () => create(db, appId)))
  const rows = (await listDeployments(db, appId)).items
  assert.deepEqual(
    rows.map(({ status }) => status),
    ['pending', ...Array(7).fill('cancelled')]
  )
})

test('a deployment of a deleted app is refused', async t => {
  const db = await openDatabase(t)
  await assert.rejects(create(db, randomUUID()), { code: 'NOT_FOUND', message: 'app not found' })
})

test('an unfinished deployment can be cancelled once, and its env is deleted', async t => {
  const db = await openDatabase(t)
  const appId = await addApp(db)
  const { deployment } = await create(db, appId)
  await snapshotEnv(db, box, appId, deployment.id)
  const cancels = await Promise.allSettled([1, 2, 3].map(() => db.transaction(tx => cancelDeployment(tx, deployment))))
  assert.equal(cancels.filter(({ status }) => status === 'fulfilled').length, 1)
  for (const result of cancels) if (result.status === 'rejected') assert.equal(result.reason.code, 'CONFLICT')
  assert.equal(await db.$count(deploymentSecrets), 0)
})

test('a worker that lost its claim can change nothing', async t => {
  const db = await openDatabase(t)
  const appId = await addApp(db)
  const { deployment } = await create(db, appId)
  const first = (await claimDeployment(db, deployment.id))!
  await advance(db, first, 'cloning')
  const second = (await claimDeployment(db, deployment.id))!
  for (const write of [
    () => advance(db, { ...first, status: 'cloning' }, 'building'),
    () => confirmClaim(db, first),
    () => promote(db, { ...first, status: 'deploying' })
  ])
    await assert.rejects(write, ClaimLost)
  assert.deepEqual(await heldClaims(db, [first, second]), new Set([second.claim]))
  await advance(db, second, 'building')
  assert.equal(await statusOf(db, deployment.id), 'building')
})

test('only transitions of the state machine are possible, from the current state', async t => {
  const db = await openDatabase(t)
  const { deployment } = await create(db, await addApp(db))
  const work = (await claimDeployment(db, deployment.id))!
  await assert.rejects(advance(db, work, 'live'), /a deployment cannot go from pending to live/)
  await assert.rejects(advance(db, { ...work, status: 'built' }, 'deploying'), ClaimLost)
  await db.transaction(tx => cancelDeployment(tx, deployment))
  await assert.rejects(advance(db, work, 'cloning'), ClaimLost)
  assert.equal(await claimDeployment(db, deployment.id), undefined)
})

test('one deployment of an app is live: the previous one is superseded in the same transaction, and its env is deleted', async t => {
  const db = await openDatabase(t)
  const appId = await addApp(db)
  const old = await add(db, appId, 'live', 'a')
  const next = await add(db, appId, 'deploying', 'b')
  for (const id of [old, next]) await snapshotEnv(db, box, appId, id)
  const work = (await claimDeployment(db, next))!
  const changes = await db.transaction(tx => promote(tx, work))
  assert.deepEqual(
    changes.map(({ id, from, to }) => [id, from, to]),
    [
      [old, 'live', 'superseded'],
      [next, 'deploying', 'live']
    ]
  )
  const left = await db.select().from(deploymentSecrets)
  assert.deepEqual(
    left.map(({ deploymentId }) => deploymentId),
    [next]
  )
  await assert.rejects(add(db, appId, 'live', 'c'), 'the database itself allows no second one')
})

test('a failed deployment records the reason, and keeps no env', async t => {
  const db = await openDatabase(t)
  const appId = await addApp(db)
  const id = await add(db, appId, 'deploying', 'a')
  await snapshotEnv(db, box, appId, id)
  const work = (await claimDeployment(db, id))!
  await advance(db, work, 'deploy_failed', { errorCode: 'DEPLOY_FAILED', errorMessage: 'no' })
  const row = await findDeployment(db, appId, id)
  assert.deepEqual([row.status, row.errorCode, row.errorMessage], ['deploy_failed', 'DEPLOY_FAILED', 'no'])
  assert.ok(row.deployFinishedAt)
  assert.equal(await db.$count(deploymentSecrets), 0)
})

test('a build gets its own env vars, and no other one is decrypted for it', async t => {
  const db = await openDatabase(t)
  const appId = await addApp(db)
  await setEnvVar(db, box, appId, 'SEEN', 'x', true)
  await setEnvVar(db, box, appId, 'BROKEN', 'y')
  await db
    .update(envVars)
    .set({ valueEncrypted: Buffer.alloc(32) })
    .where(eq(envVars.key, 'BROKEN'))
  assert.deepEqual(await readBuildEnv(db, box, appId), { SEEN: 'x' })
})

test('the env of a deployment is encrypted for it alone, and decrypts unchanged', async t => {
  const db = await openDatabase(t)
  const appId = await addApp(db)
  const hostile = '"; drop table apps; -- \u202e\n\\u0000 💥 __proto__'
  await setEnvVar(db, box, appId, 'HOSTILE', hostile)
  await setEnvVar(db, box, appId, 'SEEN', 'x', true)
  const [one, two] = [await add(db, appId, 'deploying', 'a'), await add(db, appId, 'superseded', 'a')]
  assert.deepEqual(await snapshotEnv(db, box, appId, one), { HOSTILE: 1, SEEN: 1 })
  assert.deepEqual(await readSnapshot(db, box, appId, one), { HOSTILE: hostile, SEEN: 'x' })
  assert.equal(await readSnapshot(db, box, appId, two), undefined)
  assert.deepEqual(await readBuildEnv(db, box, appId), { SEEN: 'x' })

  const [sealed] = await db.select().from(deploymentSecrets)
  assert.ok(!sealed!.valueEncrypted.includes('drop table'))
  await db.insert(deploymentSecrets).values({ ...sealed!, deploymentId: two })
  await assert.rejects(readSnapshot(db, box, appId, two), 'copied to another deployment, it does not open')
})

test('a rollback targets only a deployment of this app that was live, with another image', async t => {
  const db = await openDatabase(t)
  const [appId, other] = [await addApp(db), await addApp(db)]
  await assert.rejects(findRollbackTarget(db, appId), { code: 'CONFLICT' })
  const oldest = await add(db, appId, 'superseded', 'a')
  const good = await add(db, appId, 'superseded', 'b')
  const failed = await add(db, appId, 'deploy_failed', 'broken')
  const cancelled = await add(db, appId, 'cancelled', 'unfinished')
  await add(db, appId, 'superseded', 'c')
  const live = await add(db, appId, 'live', 'c')
  const foreign = await add(db, other, 'live', 'theirs')

  assert.equal((await findRollbackTarget(db, appId)).id, good)
  assert.equal((await findRollbackTarget(db, appId, oldest)).image, 'a')
  assert.equal((await findRollbackTarget(db, appId, live)).image, 'c')
  for (const id of [failed, cancelled]) await assert.rejects(findRollbackTarget(db, appId, id), { code: 'CONFLICT' })
  for (const id of [foreign, randomUUID()])
    await assert.rejects(findRollbackTarget(db, appId, id), { code: 'NOT_FOUND', message: 'deployment not found' })
})

test('images are kept that are live, in progress, or among the last ten that served, per app', async t => {
  const db = await openDatabase(t)
  const [appId, other] = [await addApp(db), await addApp(db)]
  for (let i = 0; i < 15; i++) await add(db, appId, 'superseded', `old-${i}`)
  await add(db, appId, 'live', 'old-14')
  await add(db, appId, 'deploy_failed', 'broken')
  await add(db, appId, 'built', 'old-2')
  await add(db, other, 'live', 'theirs')
  const kept = [...Array.from({ length: 11 }, (_, i) => `old-${i + 4}`), 'old-2']
  assert.deepEqual(new Set(await imagesInUse(db, appId)), new Set(kept))
})

test('lists the deployments of an app only, newest first and page by page', async t => {
  const db = await openDatabase(t)
  const [appId, other] = [await addApp(db), await addApp(db)]
  const ids: string[] = []
  for (let i = 0; i < 7; i++) ids.unshift((await create(db, appId)).deployment.id)
  const foreign = (await create(db, other)).deployment
  const seen: string[] = []
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const page: Awaited<ReturnType<typeof listDeployments>> = await listDeployments(db, appId, {
      limit: 3,
      ...(cursor && { cursor })
    })
    seen.push(...page.items.map(({ id }) => id))
    cursor = page.nextCursor
  }
  assert.deepEqual(seen, ids)
  await assert.rejects(findDeployment(db, appId, foreign.id), { code: 'NOT_FOUND' })
})

test('an app keeps the name assigned by its deployer', async t => {
  const db = await openDatabase(t)
  const appId = await addApp(db)
  for (const _ of [1, 2]) await nameApp(db, appId, 'rhone-x-1', null)
  await assert.rejects(nameApp(db, appId, 'rhone-x-2', null), ClaimLost)
  await nameApp(db, appId, 'rhone-x-4', 'rhone-x-1')
  await assert.rejects(nameApp(db, randomUUID(), 'rhone-x-3', null), ClaimLost)
  assert.equal((await db.select().from(apps))[0]?.flyAppId, 'rhone-x-4')
})

test('the state of the platform contains the live and unfinished deployments by app', async t => {
  const db = await openDatabase(t)
  const [one, two, three] = [await addApp(db), await addApp(db), await addApp(db)]
  const live = await add(db, one, 'live', 'a')
  const { deployment } = await create(db, one)
  await add(db, two, 'superseded', 'a')
  assert.deepEqual(await platformState(db), {
    live: new Map([[one, live]]),
    active: new Map([[one, deployment.id]]),
    known: new Set([one, two, three])
  })
})
