import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { asc, eq, sql } from 'drizzle-orm'
import { auditCheckpoints, auditLogs, auditSeals, auditUnsealed } from '../../../drizzle/schema.ts'
import { generateKey, parseKeyring } from '../../../src/config/keyring.ts'
import { CheckpointSigner } from '../../../src/domain/audit/chain.ts'
import { ERASED_ACTOR, pseudonymiseBatch } from '../../../src/domain/audit/erase.ts'
import { insertAudit } from '../../../src/domain/audit/events.ts'
import { sealBatch, signCheckpoint } from '../../../src/domain/audit/seal.ts'
import { verifyAudit } from '../../../src/domain/audit/verify.ts'
import type { Db } from '../../../src/domain/base/db.ts'
import { openDatabase } from '../support.ts'

const signer = new CheckpointSigner(parseKeyring(generateKey()))

async function write(db: Db, count: number, over: object = {}): Promise<void> {
  for (let n = 0; n < count; n++)
    await insertAudit(db, {
      eventType: 'app',
      action: 'create',
      resource: 'app',
      actor: 'zuzana',
      ip: '192.0.2.1',
      resourceName: `app ${n}`,
      details: { slug: `app-${n}`, region: 'iad' },
      ...over
    })
}

async function sealed(db: Db, count: number, over: object = {}): Promise<string[]> {
  await write(db, count, over)
  while ((await sealBatch(db)) > 0);
  await signCheckpoint(db, signer, 0)
  return (await db.select().from(auditSeals).orderBy(asc(auditSeals.seq))).map(({ rowId }) => rowId)
}

const asAttacker = (db: Db, statement: ReturnType<typeof sql>) =>
  db.transaction(async tx => {
    await tx.execute(sql`set local rhone.audit_purge = 'on'`)
    await tx.execute(statement)
  })

const problemsOf = async (db: Db) =>
  (await verifyAudit(db, signer)).problems.map(({ kind, seq, rowId }) => ({ kind, seq, rowId }))

test('what was written and sealed is intact, and signed up to its end', async t => {
  const db = await openDatabase(t)
  await sealed(db, 12)
  await write(db, 2)
  const report = await verifyAudit(db, signer)
  assert.deepEqual(
    { ...report, problems: report.problems.length },
    { intact: 12, erased: 0, retired: 0, waiting: 2, signedUpTo: 12, checkpoints: 1, problems: 0, truncated: false }
  )
})

test('a changed row is found, whichever of its fields it was', async t => {
  const db = await openDatabase(t)
  const ids = await sealed(db, 14)
  const changes = [
    sql`actor = 'eve'`,
    sql`ip = '198.51.100.1'`,
    sql`user_agent = 'x'`,
    sql`resource_name = 'x'`,
    sql`details = '{"slug": "x"}'`,
    sql`action = 'delete'`,
    sql`outcome = 'denied'`,
    sql`event_type = 'team'`,
    sql`user_id = gen_random_uuid()`,
    sql`team_id = gen_random_uuid()`,
    sql`app_id = gen_random_uuid()`,
    sql`resource = 'x'`,
    sql`resource_id = 'x'`,
    sql`request_id = 'x'`
  ]
  for (const [index, change] of changes.entries())
    await asAttacker(db, sql`update audit_logs set ${change} where id = ${ids[index]!}::uuid`)
  const found = await problemsOf(db)
  assert.deepEqual(
    found.map(({ seq, rowId }) => [seq, rowId]),
    ids.map((id, index) => [index + 1, id])
  )
})

test('a row whose time was changed, to the microsecond, is missing where it was and slipped in where it is', async t => {
  const db = await openDatabase(t)
  const ids = await sealed(db, 3)
  await asAttacker(
    db,
    sql`update audit_logs set created_at = created_at + interval '1 microsecond' where id = ${ids[1]!}`
  )
  assert.deepEqual(await problemsOf(db), [
    { kind: 'missing', seq: 2, rowId: ids[1] },
    { kind: 'added', seq: undefined, rowId: ids[1] }
  ])
})

test('a missing row is found, also when its link is gone with it, or it went before it was sealed', async t => {
  const db = await openDatabase(t)
  const ids = await sealed(db, 6)
  await asAttacker(db, sql`delete from audit_logs where id = ${ids[1]!}`)
  assert.deepEqual(await problemsOf(db), [{ kind: 'missing', seq: 2, rowId: ids[1] }])

  await asAttacker(db, sql`delete from audit_logs where id = ${ids[3]!}`)
  await db.delete(auditSeals).where(eq(auditSeals.seq, 4))
  const kinds = (await problemsOf(db)).map(({ kind, seq }) => `${kind} ${seq}`)
  assert.deepEqual(kinds, ['missing 2', 'link missing 4', 'moved 5'])

  await write(db, 1)
  await asAttacker(db, sql`delete from audit_logs where id in (select row_id from audit_unsealed)`)
  await sealBatch(db)
  assert.equal((await problemsOf(db)).at(-1)?.kind, 'missing')
})

test('reordered rows are found', async t => {
  const db = await openDatabase(t)
  await sealed(db, 5)
  await db.execute(sql`update audit_seals a set row_id = b.row_id, row_created_at = b.row_created_at, salt = b.salt,
    personal_digest = b.personal_digest from audit_seals b where (a.seq, b.seq) in ((2, 3), (3, 2))`)
  assert.deepEqual(
    (await problemsOf(db)).map(({ kind, seq }) => `${kind} ${seq}`),
    ['moved 2', 'moved 3']
  )
})

test('a row that is slipped in past the trigger is found', async t => {
  const db = await openDatabase(t)
  await sealed(db, 2)
  await write(db, 1)
  const [{ rowId } = { rowId: '' }] = await db.select().from(auditUnsealed)
  await db.delete(auditUnsealed)
  assert.deepEqual(await problemsOf(db), [{ kind: 'added', seq: undefined, rowId }])
})

test('a chain that was made up anew does not carry the signature, and one that was cut off is too short', async t => {
  const db = await openDatabase(t)
  const ids = await sealed(db, 4)
  await asAttacker(db, sql`update audit_logs set actor = 'eve' where id = ${ids[1]!}`)
  await db.delete(auditSeals)
  await db.execute(
    sql`insert into audit_unsealed (row_id, row_created_at) select id, created_at from audit_logs order by created_at`
  )
  const checkpoints = await db.delete(auditCheckpoints).returning()
  await sealBatch(db)
  await db.insert(auditCheckpoints).values(checkpoints)
  assert.deepEqual(
    (await problemsOf(db)).map(({ kind, seq }) => `${kind} ${seq}`),
    ['checkpoint 4']
  )

  await db.delete(auditSeals).where(sql`seq > 2`)
  assert.ok((await problemsOf(db)).some(({ kind, seq }) => kind === 'link missing' && seq === 3))

  await db.update(auditCheckpoints).set({ signature: Buffer.alloc(64) })
  assert.ok((await verifyAudit(db, signer)).problems.some(({ message }) => /signature/.test(message)))
})

test('old checkpoints of a key that has left the ring are no problem, and vouch for nothing', async t => {
  const db = await openDatabase(t)
  await sealed(db, 2)
  const other = new CheckpointSigner(parseKeyring(generateKey(new Date('2020-01-01'))))
  assert.deepEqual((await verifyAudit(db, other)).problems.length, 0)
  assert.equal((await verifyAudit(db, other)).signedUpTo, 0)
})

test('several sealers at once make one chain of what several writers write', async t => {
  const db = await openDatabase(t)
  const writers = Array.from({ length: 4 }, () => write(db, 25))
  const sealers = Array.from({ length: 3 }, async () => {
    for (let round = 0; round < 20; round++) await sealBatch(db)
  })
  await Promise.all([...writers, ...sealers])
  await sealed(db, 0)
  const { intact, problems, waiting } = await verifyAudit(db, signer)
  assert.deepEqual({ intact, problems, waiting }, { intact: 100, problems: [], waiting: 0 })
})

test('sealing costs the writer nothing to wait for: a transaction under way holds up neither the sealer nor others', async t => {
  const db = await openDatabase(t)
  await db.transaction(async tx => {
    await write(tx, 1)
    await write(db, 2)
    assert.equal(await sealBatch(db), 2)
  })
  assert.equal(await sealBatch(db), 1)
  assert.deepEqual((await verifyAudit(db, signer)).problems, [])
})

test('an account that was deleted leaves no name behind, and the chain holds; a name taken out otherwise is found', async t => {
  const db = await openDatabase(t)
  const [user, team] = [randomUUID(), randomUUID()]
  await write(db, 3, { userId: user, userAgent: 'curl', teamId: team })
  await write(db, 1, {
    eventType: 'admin',
    action: 'grant',
    resource: 'operator',
    resourceId: user,
    resourceName: 'zuzana',
    actor: 'root',
    details: null
  })
  await write(db, 1, { actor: 'bob', resourceName: 'other' })
  await sealed(db, 0)
  while ((await pseudonymiseBatch(db, user)) > 0);

  const before = await verifyAudit(db, signer)
  assert.deepEqual(
    before.problems.map(({ kind }) => kind),
    ['erased', 'erased', 'erased', 'erased']
  )
  await sealed(db, 1, {
    userId: user,
    actor: ERASED_ACTOR,
    ip: null,
    action: 'delete',
    resource: 'user',
    resourceId: user,
    resourceName: null,
    details: null
  })
  const after = await verifyAudit(db, signer)
  assert.deepEqual([after.problems, after.erased, after.intact], [[], 4, 6])

  const rows = await db.select().from(auditLogs)
  assert.ok(!JSON.stringify(rows).includes('zuzana'))
  assert.deepEqual(
    rows.filter(row => row.actor === 'root' || row.actor === 'bob').map(row => row.ip),
    ['192.0.2.1', '192.0.2.1']
  )
})

test('who goes on writing in a partition is refused as in the table', async t => {
  const db = await openDatabase(t)
  await write(db, 1)
  const [{ partition } = { partition: '' }] = await db.execute<{ partition: string }>(
    sql`select tableoid::regclass::text as partition from audit_logs`
  )
  assert.match(partition, /^audit_logs_\d{4}_\d{2}$/)
  for (const statement of [`update ${partition} set actor = 'x'`, `delete from ${partition}`, `truncate ${partition}`])
    await assert.rejects(db.execute(sql.raw(statement)), (error: Error) => /append-only/.test(String(error.cause)))
})
