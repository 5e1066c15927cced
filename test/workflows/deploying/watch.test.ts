import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eq } from 'drizzle-orm'
import { apps, deployments } from '../../../drizzle/schema.ts'
import { advance, ClaimLost, claimDeployment, promote } from '../../../src/domain/deployments/work.ts'
import { ClaimWatch } from '../../../src/workflows/deploying/watch.ts'
import { type TestPlatform, testPlatform } from '../../support/deploying.ts'
import { eventually } from '../../support/eventually.ts'
import { stays } from '../../support/stays.ts'

async function claimed(platform: TestPlatform) {
  const app = await platform.addApp()
  const { id } = await platform.create(app.id)
  return (await claimDeployment(platform.db, id))!
}

const isAborted = (signal: AbortSignal) =>
  eventually(
    async () => signal.aborted,
    aborted => aborted
  )

test('is notified immediately of cancelled and superseded deployments only', async t => {
  const platform = await testPlatform(t)
  const { watch } = await platform.newWorker()
  const [one, two] = [await claimed(platform), await claimed(platform)]
  const [first, second] = [watch.of(one), watch.of(two)]
  await platform.create(one.app.id)
  assert.ok(await isAborted(first.signal))
  assert.ok(first.signal.reason instanceof ClaimLost)
  assert.equal(second.signal.aborted, false)
  second.end()
})

test('detects a lost claim and a deleted app even without a notification', async t => {
  const platform = await testPlatform(t)
  const watch = new ClaimWatch(() => platform.db)
  t.after(() => watch.close())
  const works = [await claimed(platform), await claimed(platform), await claimed(platform)] as const
  const [taken, gone, kept] = works.map(work => watch.of(work).signal)
  await claimDeployment(platform.db, works[0].id)
  await platform.db.delete(deployments).where(eq(deployments.id, works[1].id))
  assert.ok(await isAborted(taken!))
  assert.ok(await isAborted(gone!))
  assert.equal(kept!.aborted, false)
})

test('a live deployment keeps its claim while the replaced one is stopped', async t => {
  const platform = await testPlatform(t)
  const watch = new ClaimWatch(() => platform.db)
  t.after(() => watch.close())
  const [work, other] = [await claimed(platform), await claimed(platform)]
  const [live, cancelled] = [watch.of(work), watch.of(other)]
  for (const status of ['built', 'deploying'] as const) {
    await advance(platform.db, work, status)
    work.status = status
  }
  await platform.db.transaction(tx => promote(tx, work))
  await platform.create(other.app.id)
  assert.ok(await isAborted(cancelled.signal))
  assert.equal(live.signal.aborted, false)
  live.end()
})

test('reports everything that was deleted with an app, once', async t => {
  const platform = await testPlatform(t)
  const watch = new ClaimWatch(() => platform.db)
  let told = 0
  platform.listen(watch, () => told++)
  await platform.create((await platform.addApp()).id)
  await stays(() => told === 0, 100)
  const [app, other] = [await platform.addApp(), await platform.addApp()]
  for (const { id } of [app, app, app, other]) await platform.create(id)
  await platform.db.delete(apps).where(eq(apps.id, app.id))
  await eventually(
    async () => told,
    times => times > 0
  )
  await stays(() => told === 1, 200)
})
