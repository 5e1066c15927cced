import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { eq } from 'drizzle-orm'
import { apps, deployments } from '../../../drizzle/schema.ts'
import { createApp } from '../../../src/domain/apps/apps.ts'
import { deleteEnvVar, setEnvVar } from '../../../src/domain/apps/env-vars.ts'
import { pendingChanges } from '../../../src/domain/apps/pending-changes.ts'
import { SecretBox } from '../../../src/domain/base/secret-box.ts'
import { findApp } from '../../../src/domain/teams/access.ts'
import { addTeam, addUser, openDatabase } from '../support.ts'

const key = randomBytes(32)
const box = new SecretBox({ current: { id: 'k1', key }, keys: new Map([['k1', key]]) })

/** An app whose live deployment runs with A and B, in ams, of the branch main. */
async function servingApp(t: TestContext) {
  const db = await openDatabase(t)
  const userId = await addUser(db)
  const team = await addTeam(db, { [userId]: 'owner' })
  const { id } = await createApp(db, team.id, { name: 'website', region: 'ams' })
  const set = (name: string, value: string) => setEnvVar(db, box, id, name, value)
  await set('A', '1')
  await set('B', '1')
  await db
    .insert(deployments)
    .values({ appId: id, status: 'live', branch: 'main', config: { region: 'ams' }, envVersions: { A: 1, B: 1 } })
  const pending = async () => pendingChanges(db, await findApp(db, userId, id))
  return { db, id, set, pending }
}

test('nothing is pending while the live version has the current settings', async t => {
  const { pending } = await servingApp(t)
  assert.equal(await pending(), null)
})

test('new, changed and removed variables are listed in order', async t => {
  const { db, id, set, pending } = await servingApp(t)
  await set('Z', '1')
  await set('A', '2')
  await deleteEnvVar(db, id, 'B')
  assert.deepEqual(await pending(), { set: ['A', 'Z'], removed: ['B'], settings: [] })
})

test('changes of region and branch are pending with their old values, and settings with immediate effect are not', async t => {
  const { db, id, pending } = await servingApp(t)
  await db.update(apps).set({ autoDeploy: false, name: 'renamed' }).where(eq(apps.id, id))
  assert.equal(await pending(), null)
  await db.update(apps).set({ region: 'fra', githubBranch: 'release' }).where(eq(apps.id, id))
  assert.deepEqual((await pending())?.settings, [
    { name: 'region', from: 'ams', to: 'fra' },
    { name: 'branch', from: 'main', to: 'release' }
  ])
})

test('nothing is pending for an app without a live version', async t => {
  const { db, id, set, pending } = await servingApp(t)
  await db.update(deployments).set({ status: 'superseded' }).where(eq(deployments.appId, id))
  await set('A', '2')
  assert.equal(await pending(), null)
})
