import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { ROLES } from '../../../drizzle/schema.ts'
import { createApp } from '../../../src/domain/apps/apps.ts'
import { findApp, findTeam, PERMISSIONS, requireRole } from '../../../src/domain/teams/access.ts'
import { addTeam, addUser, openDatabase } from '../support.ts'

test("finds a team and an app by UUID, in either case, and by slug, with the caller's role", async t => {
  const db = await openDatabase(t)
  const user = await addUser(db)
  const team = await addTeam(db, { [user]: 'admin' })
  const app = await createApp(db, team.id, { name: 'hello' })

  for (const key of [team.id, team.id.toUpperCase(), team.slug]) {
    const { id, slug, role } = await findTeam(db, user, key)
    assert.deepEqual({ id, slug, role }, { id: team.id, slug: team.slug, role: 'admin' })
  }
  for (const key of [app.id, app.id.toUpperCase(), 'hello'])
    assert.deepEqual(await findApp(db, user, key), { ...app, role: 'admin' })
})

test('resources of other teams are not found, exactly like missing ones', async t => {
  const db = await openDatabase(t)
  const [insider, outsider] = [await addUser(db), await addUser(db)]
  const team = await addTeam(db, { [insider]: 'owner' })
  await addTeam(db, { [outsider]: 'owner' })
  const app = await createApp(db, team.id, { name: 'hello' })

  for (const key of [team.id, team.slug, randomUUID(), 'nothing', 'x'.repeat(300), "' or 1=1 --", '\0', 'ÄÖ'])
    await assert.rejects(findTeam(db, outsider, key), { code: 'NOT_FOUND', message: 'team not found' }, key)
  for (const key of [app.id, app.slug, randomUUID(), 'nothing', 'x'.repeat(300), "' or 1=1 --", '\0', 'ÄÖ'])
    await assert.rejects(findApp(db, outsider, key), { code: 'NOT_FOUND', message: 'app not found' }, key)
})

test('works within a transaction, and sees what that has done', async t => {
  const db = await openDatabase(t)
  const user = await addUser(db)
  const team = await addTeam(db, { [user]: 'member' })
  await db.transaction(async tx => {
    const app = await createApp(tx, team.id, { name: 'unborn' })
    assert.equal((await findApp(tx, user, 'unborn')).id, app.id)
    await assert.rejects(findApp(db, user, 'unborn'), { code: 'NOT_FOUND' })
  })
})

test('a role allows what it and the roles below it allow', () => {
  for (const [held, may] of Object.entries({ member: 1, admin: 2, owner: 3 }) as [(typeof ROLES)[number], number][])
    for (const [rank, needed] of ROLES.entries())
      if (rank < may) requireRole(held, needed)
      else assert.throws(() => requireRole(held, needed), { code: 'FORBIDDEN', detail: new RegExp(needed) })
})

test('the permission table defines the rights of each role', () => {
  const may = (role: string) =>
    Object.keys(PERMISSIONS).filter(key => PERMISSIONS[key as keyof typeof PERMISSIONS] === role)
  assert.deepEqual(may('member'), ['viewTeam', 'leaveTeam', 'viewApps', 'createApps', 'deploy'])
  assert.deepEqual(may('admin'), [
    'deployAnyCommit',
    'changeApps',
    'deleteApps',
    'manageEnvVars',
    'changeRegions',
    'manageInstallations',
    'inviteMembers',
    'removeMembers',
    'viewAudit'
  ])
  assert.deepEqual(may('owner'), ['renameTeam', 'changeRoles', 'manageBilling', 'deleteTeam', 'transferTeam'])
})
