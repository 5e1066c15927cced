import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eq, sql } from 'drizzle-orm'
import { apps, regions, teams } from '../../../drizzle/schema.ts'
import { changeApp, createApp, deleteApp, type ListedApp, listApps } from '../../../src/domain/apps/apps.ts'
import type { Db } from '../../../src/domain/base/db.ts'
import { addTeam, addUser, openDatabase } from '../support.ts'

async function team(db: Db): Promise<{ user: string; teamId: string }> {
  const user = await addUser(db)
  return { user, teamId: (await addTeam(db, { [user]: 'owner' })).id }
}

test('an app only needs a name', async t => {
  const db = await openDatabase(t)
  const { teamId } = await team(db)
  const { id, createdAt, updatedAt, ...app } = await createApp(db, teamId, { name: '  Hello World ' })
  assert.deepEqual(app, {
    teamId,
    name: 'Hello World',
    slug: 'hello-world',
    githubRepo: null,
    gitUrl: null,
    rootDirectory: null,
    healthPath: null,
    healthGrace: null,
    port: null,
    flyAppId: null,
    githubBranch: 'main',
    region: 'iad',
    autoDeploy: true,
    version: 1
  })
  assert.ok(createdAt instanceof Date && updatedAt instanceof Date)
})

test('a derived slug gets a suffix if it is taken or reserved', async t => {
  const db = await openDatabase(t)
  const [one, other] = [await team(db), await team(db)]
  await createApp(db, one.teamId, { name: 'Hello' })
  const second = await createApp(db, other.teamId, { name: 'hello' })
  assert.match(second.slug, /^hello-[a-z0-9]{4}$/)
  const www = await createApp(db, one.teamId, { name: 'WWW' })
  assert.match(www.slug, /^www-[a-z0-9]{4}$/)
  const long = 'x'.repeat(63)
  await createApp(db, one.teamId, { name: long })
  const cut = await createApp(db, one.teamId, { name: long })
  assert.match(cut.slug, /^x{58}-[a-z0-9]{4}$/)
})

test('a requested slug is granted or refused, never altered', async t => {
  const db = await openDatabase(t)
  const { teamId } = await team(db)
  assert.equal((await createApp(db, teamId, { name: 'x', slug: 'mine' })).slug, 'mine')
  await assert.rejects(createApp(db, teamId, { name: 'x', slug: 'mine' }), { code: 'CONFLICT' })
  await assert.rejects(createApp(db, teamId, { name: 'x', slug: 'admin' }), {
    code: 'VALIDATION_ERROR',
    detail: /slug/
  })
})

test('of many concurrent transactions that request one slug, exactly one gets it', async t => {
  const db = await openDatabase(t)
  const { teamId } = await team(db)
  const attempts = Array.from({ length: 20 }, () =>
    db.transaction(tx => createApp(tx, teamId, { name: 'race', slug: 'race' }))
  )
  const settled = await Promise.allSettled(attempts)
  assert.equal(settled.filter(({ status }) => status === 'fulfilled').length, 1)
  for (const result of settled) if (result.status === 'rejected') assert.equal(result.reason.code, 'CONFLICT')
  assert.equal(await db.$count(apps), 1)
})

test('many concurrent requests with one name all get a slug', async t => {
  const db = await openDatabase(t)
  const { teamId } = await team(db)
  const created = await Promise.all(
    Array.from({ length: 20 }, () => db.transaction(tx => createApp(tx, teamId, { name: 'Popular' })))
  )
  assert.equal(new Set(created.map(app => app.slug)).size, 20)
})

test('an app can be placed in an available region, and stay in one that is no longer available', async t => {
  const db = await openDatabase(t)
  const { teamId } = await team(db)
  await assert.rejects(createApp(db, teamId, { name: 'x', region: 'xxx' }), { code: 'VALIDATION_ERROR', detail: /xxx/ })
  const app = await createApp(db, teamId, { name: 'x', region: 'waw' })
  await db.update(regions).set({ available: false }).where(eq(regions.code, 'waw'))

  await assert.rejects(createApp(db, teamId, { name: 'y', region: 'waw' }), { code: 'VALIDATION_ERROR' })
  const moved = await changeApp(db, app, { region: 'waw', name: 'z' })
  assert.equal(moved.name, 'z')
  await assert.rejects(changeApp(db, app, { region: 'nowhere' }), { code: 'VALIDATION_ERROR' })
})

test('creating an app in a deleted team is refused with a reason', async t => {
  const db = await openDatabase(t)
  const { teamId } = await team(db)
  await db.delete(teams)
  await assert.rejects(createApp(db, teamId, { name: 'x' }), { code: 'NOT_FOUND', message: 'team not found' })
})

test('a change increments the version, keeps unnamed settings, and updates updatedAt', async t => {
  const db = await openDatabase(t)
  const { teamId } = await team(db)
  const app = await createApp(db, teamId, { name: 'x', githubRepo: 'acme/web', autoDeploy: false })
  const changed = await changeApp(db, app, { githubBranch: 'next' })
  assert.deepEqual(changed, { ...app, githubBranch: 'next', version: 2, updatedAt: changed.updatedAt })
  assert.ok(changed.updatedAt > app.updatedAt)
  assert.equal((await changeApp(db, changed, { githubRepo: null })).githubRepo, null)
})

test('of many concurrent changes that expect the same version, exactly one succeeds', async t => {
  const db = await openDatabase(t)
  const { teamId } = await team(db)
  const app = await createApp(db, teamId, { name: 'x' })
  const settled = await Promise.allSettled(
    Array.from({ length: 10 }, (_, i) => db.transaction(tx => changeApp(tx, app, { name: `name ${i}` }, app.version)))
  )
  assert.equal(settled.filter(({ status }) => status === 'fulfilled').length, 1)
  for (const result of settled)
    if (result.status === 'rejected') assert.equal(result.reason.code, 'PRECONDITION_FAILED')
  const [row] = await db.select().from(apps)
  assert.equal(row?.version, 2)
})

test('deletes an app once, and only at the expected version', async t => {
  const db = await openDatabase(t)
  const { teamId } = await team(db)
  const app = await createApp(db, teamId, { name: 'x' })
  await assert.rejects(deleteApp(db, app, 7), { code: 'PRECONDITION_FAILED' })
  await deleteApp(db, app, 1)
  assert.equal(await db.$count(apps), 0)
  await assert.rejects(deleteApp(db, app), { code: 'NOT_FOUND' })
  await assert.rejects(changeApp(db, app, { name: 'y' }), { code: 'NOT_FOUND' })
})

test('pages list all apps of a user once, newest first, even those of the same microsecond', async t => {
  const db = await openDatabase(t)
  const { user, teamId } = await team(db)
  const stranger = await team(db)
  await createApp(db, stranger.teamId, { name: 'not mine' })
  const moments = ['2026-01-01T00:00:00.000001Z', '2026-01-01T00:00:00.000002Z', '2026-01-01T00:00:00.000002Z']
  for (let i = 0; i < 23; i++) {
    const app = await createApp(db, teamId, { name: `app ${i}` })
    const moment = sql`${moments[i % moments.length]}::timestamptz`
    await db.update(apps).set({ createdAt: moment }).where(eq(apps.id, app.id))
  }

  const found: ListedApp[] = []
  let cursor: string | null = null
  do {
    const page: Awaited<ReturnType<typeof listApps>> = await listApps(db, user, { limit: 5, ...(cursor && { cursor }) })
    assert.ok(page.items.length <= 5)
    found.push(...page.items)
    cursor = page.nextCursor
  } while (cursor !== null)

  const stored = await db.select({ id: apps.id }).from(apps).where(eq(apps.teamId, teamId))
  assert.equal(found.length, 23)
  assert.deepEqual(new Set(found.map(app => app.id)), new Set(stored.map(app => app.id)))
  assert.deepEqual(
    found.slice(0, 15).map(app => app.id),
    found
      .slice(0, 15)
      .map(app => app.id)
      .toSorted()
      .toReversed()
  )
})

test('lists the apps of all teams that a user is in, or of one', async t => {
  const db = await openDatabase(t)
  const { user, teamId } = await team(db)
  const second = await addTeam(db, { [user]: 'member' })
  await createApp(db, teamId, { name: 'one' })
  await createApp(db, second.id, { name: 'two' })
  const names = async (request: Parameters<typeof listApps>[2]) =>
    (await listApps(db, user, request)).items.map(app => app.name)
  assert.deepEqual(await names({}), ['two', 'one'])
  assert.deepEqual(await names({ teamId }), ['one'])
})
