import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { sql } from 'drizzle-orm'
import {
  appLogs,
  apps,
  auditCheckpoints,
  auditLogs,
  auditSeals,
  buildLogChunks,
  deployments,
  errorEvents,
  teamInvitations,
  webhookDeliveries
} from '../../../drizzle/schema.ts'
import { generateKey, parseKeyring } from '../../../src/config/keyring.ts'
import { createToken } from '../../../src/domain/accounts/tokens.ts'
import { AuditKeys } from '../../../src/domain/audit/keys.ts'
import { AuditLog } from '../../../src/domain/audit/log.ts'
import { sealBatch, signCheckpoint } from '../../../src/domain/audit/seal.ts'
import { verifyAudit } from '../../../src/domain/audit/verify.ts'
import type { Db } from '../../../src/domain/base/db.ts'
import { ensurePartitions, listPartitions } from '../../../src/domain/base/partitions.ts'
import { RETENTION_DAYS, retireAudit, sweep } from '../../../src/domain/privacy/retention.ts'
import { addTeam, addUser, auditLog, openDatabase } from '../support.ts'

const DAY = 86_400_000
const never = new AbortController().signal
const ago = (days: number) => new Date(Date.now() - days * DAY)

const events = (db: Db, at: Date, count: number) =>
  auditLog.writeMany(
    db,
    Array.from({ length: count }, () => ({
      id: randomUUID(),
      eventType: 'app' as const,
      action: 'create',
      resource: 'app',
      createdAt: at
    }))
  )

test('the next months have partitions, and rows of the default partition are moved into them', async t => {
  const db = await openDatabase(t)
  const names = (await listPartitions(db)).map(({ name }) => name)
  assert.ok(names.length >= 4, String(names))
  assert.equal(await ensurePartitions(db), 0)

  const later = new Date('2051-02-03T00:00:00Z')
  await events(db, later, 3)
  await events(db, new Date('2051-03-31T23:59:59.999Z'), 1)
  assert.equal(await ensurePartitions(db, later), 4)
  const homes = await db.execute<{ home: string; n: number }>(
    sql`select tableoid::regclass::text as home, count(*)::int as n from audit_logs group by 1 order by 1`
  )
  assert.deepEqual(
    homes.map(({ home, n }) => [home, n]),
    [
      ['audit_logs_2051_02', 3],
      ['audit_logs_2051_03', 1]
    ]
  )
  assert.equal(await db.$count(auditLogs), 4)
  await assert.rejects(db.execute(sql`delete from audit_logs_2051_02`))
})

test('months past their retention are dropped, and the chain continues from their end', async t => {
  const db = await openDatabase(t)
  await ensurePartitions(db, ago(RETENTION_DAYS.audit + 70))
  await events(db, ago(RETENTION_DAYS.audit + 60), 4)
  while ((await sealBatch(db, auditLog.keys)) > 0);
  // Written late: its link stands among those of rows that are kept.
  await events(db, ago(10), 1)
  await events(db, ago(RETENTION_DAYS.audit + 59), 1)
  await events(db, ago(0), 2)
  while ((await sealBatch(db, auditLog.keys)) > 0);
  await signCheckpoint(db, auditLog.keys, 0)
  assert.deepEqual((await verifyAudit(db, auditLog.keys)).problems, [])

  const gone = await retireAudit(db, auditLog.keys)
  assert.ok(gone.length >= 1, String(gone))
  assert.equal(await db.$count(auditLogs), 3)
  assert.equal(await db.$count(auditSeals), 4)
  const { problems, intact, retired } = await verifyAudit(db, auditLog.keys)
  assert.deepEqual({ problems, intact, retired }, { problems: [], intact: 3, retired: 1 })
  assert.deepEqual(await retireAudit(db, auditLog.keys), [])

  await db.delete(auditCheckpoints).where(sql`retained_from is not null`)
  assert.match((await verifyAudit(db, auditLog.keys)).problems[0]!.message, /not because of retention/)
})

test('a chain cut by retention stays intact after later signatures, even without the key of the cut', async t => {
  const db = await openDatabase(t)
  const [old, fresh] = [generateKey(new Date('2020-01-01')), generateKey()]
  const logOf = (...ring: string[]) => new AuditLog(new AuditKeys(parseKeyring(ring.join(','))))
  const [before, during, after] = [logOf(old), logOf(fresh, old), logOf(fresh)]
  const write = (log: AuditLog, at: Date) =>
    log.writeMany(db, [{ id: randomUUID(), eventType: 'app', action: 'create', resource: 'app', createdAt: at }])
  await ensurePartitions(db, ago(RETENTION_DAYS.audit + 70))
  await write(before, ago(RETENTION_DAYS.audit + 60))
  await write(before, ago(1))
  await sealBatch(db, before.keys)
  await retireAudit(db, before.keys)
  for (const log of [before, during]) {
    await write(log, ago(0))
    await sealBatch(db, log.keys)
    await signCheckpoint(db, log.keys, 0)
    await retireAudit(db, log.keys)
    assert.deepEqual((await verifyAudit(db, log.keys)).problems, [])
  }
  assert.deepEqual((await verifyAudit(db, after.keys)).problems, [])
})

test('a row removed by retention cannot be inserted again', async t => {
  const db = await openDatabase(t)
  await ensurePartitions(db, ago(RETENTION_DAYS.audit + 70))
  await events(db, ago(RETENTION_DAYS.audit + 60), 1)
  const [old] = await db.select().from(auditLogs)
  await events(db, ago(0), 1)
  while ((await sealBatch(db, auditLog.keys)) > 0);
  await retireAudit(db, auditLog.keys)
  await db.insert(auditLogs).values(old!)
  while ((await sealBatch(db, auditLog.keys)) > 0);
  const { problems } = await verifyAudit(db, auditLog.keys)
  assert.deepEqual(
    problems.map(({ kind, rowId }) => [kind, rowId]),
    [['backdated', old!.id]]
  )
})

test('a chain emptied by retention continues', async t => {
  const db = await openDatabase(t)
  await ensurePartitions(db, ago(RETENTION_DAYS.audit + 70))
  await events(db, ago(RETENTION_DAYS.audit + 60), 4)
  while ((await sealBatch(db, auditLog.keys)) > 0);
  await retireAudit(db, auditLog.keys)
  assert.deepEqual((await verifyAudit(db, auditLog.keys)).problems, [])
  await events(db, ago(0), 2)
  while ((await sealBatch(db, auditLog.keys)) > 0);
  const { problems, intact } = await verifyAudit(db, auditLog.keys)
  assert.deepEqual({ problems, intact }, { problems: [], intact: 2 })
})

test('expired rows are deleted on time, and not before, even by several instances at once', async t => {
  const db = await openDatabase(t)
  const userId = await addUser(db)
  const { id: teamId } = await addTeam(db, { [userId]: 'owner' })
  const invitation = (over: Partial<typeof teamInvitations.$inferInsert>) => ({
    teamId,
    email: `${randomUUID()}@example.com`,
    role: 'member' as const,
    tokenHash: Buffer.from(randomUUID()),
    expiresAt: ago(1),
    ...over
  })
  await db
    .insert(teamInvitations)
    .values([
      invitation({ expiresAt: ago(31) }),
      invitation({ revokedAt: ago(31) }),
      invitation({ acceptedAt: ago(31) }),
      invitation({ expiresAt: ago(29) }),
      invitation({ expiresAt: ago(-5) })
    ])
  const hours = Array.from({ length: 2_500 }, (_, n) => ({
    hour: ago(31),
    code: 'X',
    route: String(n),
    count: 1,
    lastAt: ago(31)
  }))
  await db
    .insert(errorEvents)
    .values([...hours, { hour: ago(29), code: 'X', route: 'kept', count: 1, lastAt: ago(29) }])
  for (const days of [91, 89]) {
    const { id } = await createToken(db, { userId, name: 'x', scopes: ['read'] })
    await db.execute(
      sql`update api_tokens set revoked_at = ${ago(days).toISOString()}::timestamptz where id = ${id}::uuid`
    )
  }
  await createToken(db, { userId, name: 'x', scopes: ['read'] })

  const removed = await Promise.all([sweep(db, never), sweep(db, never)])
  assert.equal(removed[0] + removed[1], 2_504)
  assert.deepEqual(
    [await db.$count(teamInvitations), await db.$count(errorEvents), await db.$count(sql`api_tokens`)],
    [2, 1, 2]
  )
  const stopped = AbortSignal.abort()
  assert.equal(await sweep(db, stopped), 0)
})

test('deliveries and logs are deleted after their retention', async t => {
  const db = await openDatabase(t)
  const { id: teamId } = await addTeam(db)
  const [app] = await db.insert(apps).values({ teamId, name: 'x', slug: 'an-app' }).returning({ id: apps.id })
  const [deployment] = await db.insert(deployments).values({ appId: app!.id }).returning({ id: deployments.id })
  for (const kept of [false, true]) {
    const at = (days: number) => ago(kept ? days - 1 : days + 1)
    await db.insert(webhookDeliveries).values({
      source: 'github',
      deliveryId: String(kept),
      event: 'ping',
      payload: Buffer.from('{}'),
      receivedAt: at(30)
    })
    await db
      .insert(buildLogChunks)
      .values({ deploymentId: deployment!.id, seq: Number(kept), phase: 'building', text: 'x', createdAt: at(90) })
    await db.insert(appLogs).values({ appId: app!.id, at: at(7), level: 'info', source: 'app', message: String(kept) })
  }
  assert.equal(await sweep(db, never), 3)
  const [delivery] = await db.select().from(webhookDeliveries)
  const [chunk] = await db.select().from(buildLogChunks)
  const [line] = await db.select().from(appLogs)
  assert.deepEqual([delivery?.deliveryId, chunk?.seq, line?.message], ['true', 1, 'true'])
})
