import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sql } from 'drizzle-orm'
import { appTombstones, deployments } from '../../../drizzle/schema.ts'
import type { Running } from '../../../integrations/deployer/index.ts'
import { deleteApp } from '../../../src/domain/apps/apps.ts'
import { divergentApps } from '../../../src/workflows/deploying/reconcile.ts'
import { type TestPlatform, testPlatform } from '../../support/deploying.ts'

const release = (appId: string, deploymentId: string, isServing: boolean): Running => ({
  appId,
  deploymentId,
  flyAppId: null,
  isServing,
  isHealthy: true
})

async function deployed(platform: TestPlatform) {
  const app = await platform.addApp()
  const { id } = await platform.create(app.id)
  await platform.workOff()
  return { app, id }
}

const waiting = async ({ db }: TestPlatform) =>
  Array.from(await db.execute(sql`select data from test_jobs where state <> 'completed'`), ({ data }) => data)

test('an app has drifted when its live deployment does not serve, or another one runs', () => {
  const state = { live: new Map([['a', '1']]), active: new Map<string, string>(), known: new Set(['a', 'b']) }
  assert.deepEqual(divergentApps([release('a', '1', true)], state), [])
  assert.deepEqual(divergentApps([], state), ['a'])
  assert.deepEqual(divergentApps([release('a', '1', false)], state), ['a'])
  assert.deepEqual(divergentApps([release('a', '1', false), release('a', '2', true)], state), ['a'])
  assert.deepEqual(divergentApps([release('a', '1', true), release('a', '2', false)], state), ['a'])
  assert.deepEqual(divergentApps([release('a', '1', true), release('b', '3', true)], state), ['b'])
  assert.deepEqual(divergentApps([release('a', '1', true), release('stranger', '3', true)], state), [])
  assert.deepEqual(divergentApps([], { ...state, active: new Map([['a', '2']]) }), [])
})

test('missing releases are started, and unwanted ones are stopped', async t => {
  const platform = await testPlatform(t)
  const [gone, crowded, wrong] = [await deployed(platform), await deployed(platform), await deployed(platform)]
  const { apps } = platform.world
  apps.delete(gone.app.id)
  const stray = crypto.randomUUID()
  const runs = (appId: string) => apps.get(appId)!
  runs(crowded.app.id).releases.set(stray, runs(crowded.app.id).releases.get(crowded.id)!)
  runs(wrong.app.id).releases.set(stray, runs(wrong.app.id).releases.get(wrong.id)!)
  runs(wrong.app.id).serving = stray
  await platform.reconcile()
  await platform.workOff()
  for (const { app, id } of [gone, crowded, wrong])
    assert.deepEqual(platform.world.runningOf(app.id), { releases: [id], serving: id })
  await platform.reconcile()
  assert.deepEqual(await waiting(platform), [])
})

test('a deployment whose job was lost gets another one', async t => {
  const platform = await testPlatform(t)
  const app = await platform.addApp()
  const { id } = await platform.create(app.id)
  await platform.jobs.lose()
  await platform.workOff()
  assert.equal(await platform.statusOf(id), 'pending')
  await platform.reconcile()
  await platform.workOff()
  assert.equal(await platform.statusOf(id), 'live')
})

test('an app with a deployment in progress is left alone', async t => {
  const platform = await testPlatform(t)
  const { app } = await deployed(platform)
  await platform.create(app.id)
  const job = await platform.jobs.take()
  platform.world.apps.delete(app.id)
  for (let round = 0; round < 3; round++) await platform.reconcile()
  assert.deepEqual(await waiting(platform), [job?.data])
})

test('at most one repair job per app is sent, however often the reconciler runs', async t => {
  const platform = await testPlatform(t)
  const { app } = await deployed(platform)
  platform.world.apps.delete(app.id)
  for (let round = 0; round < 3; round++) await platform.reconcile()
  assert.deepEqual(await waiting(platform), [{ restore: app.id }])
})

test('a deleted app is destroyed at its deployer, with retries, and then forgotten', async t => {
  const platform = await testPlatform(t)
  const { app } = await deployed(platform)
  const untouched = await platform.addApp()
  for (const { id } of [app, untouched]) await platform.db.transaction(tx => deleteApp(tx, { id } as never))
  let failures = 5
  platform.world.disturb = ({ step }) => {
    if (step === 'destroy' && failures-- > 0) throw new Error('the network is down')
  }
  await platform.reconcile()
  await platform.workOff()
  const [left] = await platform.db.select().from(appTombstones)
  assert.deepEqual([left?.appId, left?.flyAppId?.slice(0, 4)], [app.id, 'fly-'])
  assert.ok(platform.world.apps.has(app.id))
  await platform.reconcile()
  await platform.workOff()
  assert.equal(await platform.db.$count(appTombstones), 0)
  assert.ok(!platform.world.apps.has(app.id))
  assert.equal(platform.world.images.get(app.id)?.size, 0)
})

test('a deleted app does not serve while one of its deployments is still ending', async t => {
  const platform = await testPlatform(t)
  const { app } = await deployed(platform)
  await platform.create(app.id)
  const building = await platform.jobs.take()
  await platform.db.transaction(tx => deleteApp(tx, app as never))
  await platform.reconcile()
  assert.deepEqual(platform.world.runningOf(app.id), { releases: [], serving: null })
  const destroying = (await waiting(platform)).filter(job => 'destroy' in (job as object))
  assert.deepEqual(destroying, [], 'the job that ends the deployment removes what is left')
  const worker = await platform.newWorker()
  await platform.attempt(building!, worker)
  await worker.watch.close()
  await platform.reconcile()
  await platform.workOff()
  assert.ok(!platform.world.apps.has(app.id))
})

test('nothing is stopped if the database cannot be read, or is empty', async t => {
  const platform = await testPlatform(t)
  const { app, id } = await deployed(platform)
  await platform.db.execute(sql`alter table deployments rename to elsewhere`)
  await platform.reconcile()
  await platform.db.execute(sql`alter table elsewhere rename to deployments`)
  await platform.db.execute(sql`alter table apps disable trigger user`)
  await platform.db.execute(sql`delete from apps`)
  await platform.reconcile()
  await platform.workOff()
  assert.equal(await platform.db.$count(deployments), 0)
  assert.deepEqual(platform.world.runningOf(app.id), { releases: [id], serving: id })
})

test('an app whose live version does not restart is reported once per check, and keeps its route', async t => {
  const platform = await testPlatform(t)
  const { app, id } = await deployed(platform)
  const running = platform.world.apps.get(app.id)!
  running.releases.set('stray', running.releases.get(id)!)
  platform.world.disturb = ({ step }) => {
    if (step === 'start') throw new Error('the network is down')
  }
  await platform.reconcile()
  await platform.workOff()
  assert.equal(platform.world.runningOf(app.id).serving, id)
  platform.world.disturb = () => {}
  await platform.reconcile()
  await platform.workOff()
  assert.deepEqual(platform.world.runningOf(app.id), { releases: [id], serving: id })
})
