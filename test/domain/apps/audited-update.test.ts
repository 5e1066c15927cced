import assert from 'node:assert/strict'
import { test } from 'node:test'
import { and, eq, sql } from 'drizzle-orm'
import { apps, auditLogs, type Role, teamMembers } from '../../../drizzle/schema.ts'
import { changeApp, createApp } from '../../../src/domain/apps/apps.ts'
import { updateWithAudit } from '../../../src/domain/apps/audited-update.ts'
import { sealAll } from '../../../src/domain/audit/seal.ts'
import { verifyAudit } from '../../../src/domain/audit/verify.ts'
import type { Db } from '../../../src/domain/base/db.ts'
import { isWaitingForLock } from '../../support/database.ts'
import { eventually } from '../../support/eventually.ts'
import { addTeam, addUser, auditLog, openDatabase } from '../support.ts'

async function scene(db: Db) {
  const userId = await addUser(db)
  const { id: teamId } = await addTeam(db, { [userId]: 'admin' })
  const app = await createApp(db, teamId, { name: 'before' })
  const row = auditLog.sign({
    eventType: 'app',
    action: 'update',
    resource: 'app',
    resourceId: app.id,
    resourceName: 'after',
    appId: app.id,
    teamId,
    userId,
    details: { changed: ['name'] }
  })
  return { app, row, userId, teamId, seen: { app, userId, role: 'admin' as Role } }
}

const nameOf = async (db: Db, id: string) =>
  (await db.select({ name: apps.name }).from(apps).where(eq(apps.id, id)))[0]!.name

const setRole = (db: Db, userId: string, role: Role) =>
  db.update(teamMembers).set({ role }).where(eq(teamMembers.userId, userId))

test('one statement changes the app like a transaction, and writes its row into the chain', async t => {
  const db = await openDatabase(t)
  const { app, row, seen } = await scene(db)
  const changed = await updateWithAudit(db, seen, { name: 'after', port: 8080, gitUrl: null }, row)
  assert.deepEqual(changed, { ...app, name: 'after', port: 8080, version: 2, updatedAt: changed!.updatedAt })
  assert.ok(changed!.updatedAt instanceof Date)

  const other = await scene(db)
  const usual = await changeApp(db, other.app, { name: 'after', port: 8080, gitUrl: null })
  assert.deepEqual(Object.keys(changed!).sort(), Object.keys(usual).sort())

  await sealAll(db, auditLog.keys, t.signal)
  assert.deepEqual((await verifyAudit(db, auditLog.keys)).problems, [])
  const [written] = await db.select().from(auditLogs)
  assert.deepEqual([written!.resourceName, written!.details], ['after', { changed: ['name'] }])
})

test('nothing is done if the app or the role has changed since, or the caller has left', async t => {
  const db = await openDatabase(t)
  for (const change of [
    ({ app }: Awaited<ReturnType<typeof scene>>) => changeApp(db, app, { port: 1 }),
    ({ userId }: Awaited<ReturnType<typeof scene>>) => setRole(db, userId, 'member'),
    ({ userId }: Awaited<ReturnType<typeof scene>>) => db.delete(teamMembers).where(eq(teamMembers.userId, userId)),
    ({ app }: Awaited<ReturnType<typeof scene>>) => db.delete(apps).where(eq(apps.id, app.id))
  ]) {
    const before = await scene(db)
    await change(before)
    assert.equal(await updateWithAudit(db, before.seen, { name: 'after' }, before.row), undefined)
  }
  assert.deepEqual(await db.select().from(auditLogs), [])
  assert.deepEqual(await db.select().from(apps).where(eq(apps.name, 'after')), [])
})

test('an app is not changed if its audit row is refused; a transaction says so', async t => {
  const db = await openDatabase(t)
  const { app, row, seen } = await scene(db)
  const long = { ...row, resource: 'x'.repeat(200) }
  assert.equal(await updateWithAudit(db, seen, { name: 'after' }, long), undefined)
  assert.equal(await nameOf(db, app.id), 'before')
})

test('a role cannot be revoked while the change that needs it waits', async t => {
  const db = await openDatabase(t)
  const { app, row, seen, userId, teamId } = await scene(db)
  const { promise: released, resolve: release } = Promise.withResolvers<void>()
  const blocker = db.transaction(async tx => {
    await tx.select().from(apps).where(eq(apps.id, app.id)).for('update')
    await released
  })
  const changing = updateWithAudit(db, seen, { name: 'after' }, row)
  await eventually(() => isWaitingForLock(db))
  await assert.rejects(
    db.transaction(async tx => {
      await tx.execute(sql`set local lock_timeout = '50ms'`)
      await tx
        .update(teamMembers)
        .set({ role: 'member' })
        .where(and(eq(teamMembers.userId, userId), eq(teamMembers.teamId, teamId)))
    }),
    (error: { cause?: { code?: string } }) => error.cause?.code === '55P03'
  )
  release()
  await blocker
  assert.equal((await changing)?.name, 'after')
})
