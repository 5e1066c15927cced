import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { asc, eq, sql } from 'drizzle-orm'
import { auditCheckpoints, auditLogs, auditSeals, auditUnsealed } from '../../../drizzle/schema.ts'
import { generateKey, parseKeyring } from '../../../src/config/keyring.ts'
import {
  type ChainedRow,
  canonicalDetails,
  chainedFields,
  GENESIS,
  linkDigest,
  personalDigestOf,
  rowDigestOf,
  rowText
} from '../../../src/domain/audit/chain.ts'
import { ERASED_ACTOR, pseudonymiseBatch, renewErasures } from '../../../src/domain/audit/erase.ts'
import { AuditKeys } from '../../../src/domain/audit/keys.ts'
import { AuditLog } from '../../../src/domain/audit/log.ts'
import { sealAll, sealBatch, signCheckpoint, unsealedAge } from '../../../src/domain/audit/seal.ts'
import { verifyAudit } from '../../../src/domain/audit/verify.ts'
import type { Db } from '../../../src/domain/base/db.ts'
import { auditLog, openDatabase } from '../support.ts'

const { keys } = auditLog

async function write(db: Db, count: number, over: object = {}): Promise<void> {
  for (let n = 0; n < count; n++)
    await auditLog.write(db, {
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
  while ((await sealBatch(db, keys)) > 0);
  await signCheckpoint(db, keys, 0)
  return (await db.select().from(auditSeals).orderBy(asc(auditSeals.seq))).map(({ rowId }) => rowId)
}

const asAttacker = (db: Db, statement: ReturnType<typeof sql>) =>
  db.transaction(async tx => {
    await tx.execute(sql`set local rhone.audit_purge = 'on'`)
    await tx.execute(statement)
  })

const problemsOf = async (db: Db) =>
  (await verifyAudit(db, keys)).problems.map(({ kind, seq, rowId }) => ({ kind, seq, rowId }))

const kindsOf = async (db: Db) =>
  (await problemsOf(db)).map(({ kind, seq }) => (seq === undefined ? kind : `${kind} ${seq}`))

/** Links over all rows, as valid as possible without the keys. */
async function rebuildChain(db: Db): Promise<void> {
  const rows = (await db.select(chainedFields).from(auditLogs).orderBy(auditLogs.createdAt)) as ChainedRow[]
  await db.delete(auditSeals)
  let digest: Buffer = GENESIS
  for (const [index, row] of rows.entries()) {
    const salt = randomBytes(16)
    const personalDigest = personalDigestOf(row, salt)
    const rowDigest = rowDigestOf(row, personalDigest)
    const flags = { isGenuine: true, isContinuous: true }
    const link = { seq: index + 1, rowId: row.id, rowAt: row.at, ...flags, rowDigest }
    digest = linkDigest(digest, link)
    const [{ createdAt } = { createdAt: new Date() }] = await db
      .select()
      .from(auditLogs)
      .where(eq(auditLogs.id, row.id))
    await db
      .insert(auditSeals)
      .values({ ...link, rowCreatedAt: createdAt, salt, personalDigest, mac: randomBytes(32), digest })
    await db.execute(
      sql`update audit_seals s set row_created_at = a.created_at from audit_logs a where a.id = s.row_id`
    )
  }
}

test('a sealed log is intact, and signed up to its end', async t => {
  const db = await openDatabase(t)
  await sealed(db, 12)
  await write(db, 2)
  const report = await verifyAudit(db, keys)
  assert.deepEqual(
    { ...report, problems: report.problems.length },
    { intact: 12, erased: 0, retired: 0, waiting: 2, signedUpTo: 12, checkpoints: 1, problems: 0, truncated: false }
  )
})

test('a row with any changed field is detected', async t => {
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

test('a row whose time was changed by a microsecond is missing at its old place and inserted at its new one', async t => {
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

test('a missing row is detected, even if its link was removed too, or it was removed before sealing', async t => {
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
  await sealBatch(db, keys)
  assert.equal((await problemsOf(db)).at(-1)?.kind, 'missing')
})

test('reordered rows are detected', async t => {
  const db = await openDatabase(t)
  await sealed(db, 5)
  await db.execute(sql`update audit_seals a set row_id = b.row_id, row_created_at = b.row_created_at, salt = b.salt,
    personal_digest = b.personal_digest from audit_seals b where (a.seq, b.seq) in ((2, 3), (3, 2))`)
  assert.deepEqual(
    (await problemsOf(db)).map(({ kind, seq }) => `${kind} ${seq}`),
    ['moved 2', 'moved 3']
  )
})

test('a row inserted past the trigger is detected', async t => {
  const db = await openDatabase(t)
  await sealed(db, 2)
  await write(db, 1)
  const [{ rowId } = { rowId: '' }] = await db.select().from(auditUnsealed)
  await db.delete(auditUnsealed)
  assert.deepEqual(await problemsOf(db), [{ kind: 'added', seq: undefined, rowId }])
})

test('a forged chain is detected: it has no MACs and does not match the signed digest', async t => {
  const db = await openDatabase(t)
  const ids = await sealed(db, 4)
  await asAttacker(db, sql`delete from audit_logs where id = ${ids[1]!}`)
  const checkpoints = await db.delete(auditCheckpoints).returning()
  await rebuildChain(db)
  assert.deepEqual(await kindsOf(db), ['unproven 1'])

  // The server continues from there, and must not sign what it finds.
  await sealed(db, 2)
  assert.deepEqual(await kindsOf(db), ['unproven 1'])
  await db.insert(auditCheckpoints).values(checkpoints)
  assert.deepEqual(await kindsOf(db), ['unproven 1', 'checkpoint 4'])
})

test('a truncated chain is too short, and a forged signature is invalid', async t => {
  const db = await openDatabase(t)
  await sealed(db, 4)
  await db.delete(auditSeals).where(sql`seq > 2`)
  assert.ok((await problemsOf(db)).some(({ kind, seq }) => kind === 'link missing' && seq === 3))

  await db.update(auditCheckpoints).set({ signature: Buffer.alloc(64) })
  assert.ok((await verifyAudit(db, keys)).problems.some(({ message }) => /signature/.test(message)))
})

test('links of a removed key are covered by later links', async t => {
  const db = await openDatabase(t)
  const old = generateKey(new Date('2020-01-01'))
  const fresh = generateKey()
  const before = new AuditLog(new AuditKeys(parseKeyring(old)))
  const during = new AuditLog(new AuditKeys(parseKeyring(`${fresh},${old}`)))
  const after = new AuditLog(new AuditKeys(parseKeyring(fresh)))
  for (const log of [before, during, after]) {
    await log.write(db, { eventType: 'app', action: 'create', resource: 'app' })
    await sealBatch(db, log.keys)
    await signCheckpoint(db, log.keys, 0)
  }
  const { problems, intact, signedUpTo } = await verifyAudit(db, after.keys)
  assert.deepEqual({ problems, intact, signedUpTo }, { problems: [], intact: 3, signedUpTo: 3 })

  const none = await verifyAudit(db, new AuditKeys(parseKeyring(generateKey(new Date('2021-01-01')))))
  assert.deepEqual(
    [none.signedUpTo, none.problems.map(({ kind, seq }) => `${kind} ${seq}`)],
    [0, ['unproven 1']],
    'without any of the keys, nothing is proven'
  )
})

test('concurrent sealers build one chain from concurrent writers', async t => {
  const db = await openDatabase(t)
  const writers = Array.from({ length: 4 }, () => write(db, 25))
  const sealers = Array.from({ length: 3 }, async () => {
    for (let round = 0; round < 20; round++) await sealBatch(db, keys)
  })
  await Promise.all([...writers, ...sealers])
  await sealed(db, 0)
  const { intact, problems, waiting } = await verifyAudit(db, keys)
  assert.deepEqual({ intact, problems, waiting }, { intact: 100, problems: [], waiting: 0 })
})

test('writers never wait for sealing: an open transaction blocks neither the sealer nor others', async t => {
  const db = await openDatabase(t)
  await db.transaction(async tx => {
    await write(tx, 1)
    await write(db, 2)
    assert.equal(await sealBatch(db, keys), 2)
  })
  assert.equal(await sealBatch(db, keys), 1)
  assert.deepEqual((await verifyAudit(db, keys)).problems, [])
})

test('rows that are written while others are sealed wait for the next time', async t => {
  const db = await openDatabase(t)
  await write(db, 250)
  let batches = 0
  const transaction: Db['transaction'] = async (body, settings) => {
    batches++
    const result = await db.transaction(body, settings)
    await write(db, 1)
    return result
  }
  const busy = { transaction } as Db
  await sealAll(busy, keys, new AbortController().signal)
  const { intact, problems, waiting } = await verifyAudit(db, keys)
  assert.deepEqual({ batches, intact, problems, waiting }, { batches: 2, intact: 251, problems: [], waiting: 1 })
})

test('a deleted account leaves no name, and the chain stays valid', async t => {
  const db = await openDatabase(t)
  const user = await withErased(db)
  const { problems, erased, intact } = await verifyAudit(db, keys)
  assert.deepEqual([problems, erased, intact], [[], 4, 5])
  const rows = await db.select().from(auditLogs)
  assert.ok(!JSON.stringify(rows).includes('zuzana'))
  assert.equal(
    rows.filter(row => row.userId === user).every(row => row.actor === ERASED_ACTOR),
    true
  )
  assert.deepEqual(
    rows.filter(row => row.actor === 'root' || row.actor === 'bob').map(row => row.ip),
    ['192.0.2.1', '192.0.2.1']
  )
})

/** Rows by a user whose account is erased, one about them, and one by another user. */
async function withErased(db: Db): Promise<string> {
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
  while ((await pseudonymiseBatch(db, keys, user)) > 0);
  return user
}

/* Attacks with the database role, but without the server's keys. */

test('a forged row is detected, although the trigger queues it and the server seals it', async t => {
  const db = await openDatabase(t)
  const [genuine] = await sealed(db, 1)
  const forge = (mac: ReturnType<typeof sql>) =>
    db.execute<{ id: string }>(sql`
      insert into audit_logs (event_type, action, resource, actor, mac)
      values ('admin', 'grant', 'operator', 'zuzana', ${mac}) returning id`)
  const [one] = await forge(sql`null`)
  const [other] = await forge(sql`(select mac from audit_logs where id = ${genuine!})`)
  const forged = (seqs: (number | undefined)[]) =>
    [one, other].map((row, index) => ({ kind: 'forged', seq: seqs[index], rowId: row!.id }))
  assert.deepEqual(await problemsOf(db), forged([undefined, undefined]), 'while they wait')
  await sealed(db, 0)
  assert.deepEqual(await problemsOf(db), forged([2, 3]))
  await db.update(auditSeals).set({ isGenuine: true })
  assert.deepEqual(await kindsOf(db), ['moved 2', 'moved 3'])
})

test('a row changed before sealing is detected', async t => {
  const db = await openDatabase(t)
  await write(db, 4)
  const ids = (await db.select().from(auditUnsealed).orderBy(asc(auditUnsealed.position))).map(({ rowId }) => rowId)
  const changes = [sql`actor = 'eve'`, sql`details = '{"slug": "x"}'`, sql`outcome = 'denied'`]
  for (const [index, change] of changes.entries())
    await asAttacker(db, sql`update audit_logs set ${change} where id = ${ids[index]!}`)
  await sealed(db, 0)
  assert.deepEqual(await kindsOf(db), ['forged 1', 'forged 2', 'forged 3'])
})

test('a forged erasure hides no change, even if an account was really deleted', async t => {
  const db = await openDatabase(t)
  const user = await withErased(db)
  const ids = await sealed(db, 2, { userId: user })
  await asAttacker(
    db,
    sql`update audit_logs set actor = ${ERASED_ACTOR}, ip = null, user_agent = null, details = '{"slug": "x"}' where id = ${ids[5]!}`
  )
  await db.update(auditSeals).set({ salt: null }).where(eq(auditSeals.seq, 6))
  assert.deepEqual(await kindsOf(db), ['erased 6'])

  await db.execute(sql`update audit_seals a set erasure = b.erasure, erasure_key_id = b.erasure_key_id
    from audit_seals b where a.seq = 6 and b.seq = 1`)
  assert.deepEqual(await kindsOf(db), ['erased 6'], 'with the MAC of another erasure')
})

test('a later erasure does not hide a change, and an erased row cannot be changed', async t => {
  const db = await openDatabase(t)
  const user = randomUUID()
  const ids = await sealed(db, 2, { userId: user, teamId: randomUUID() })
  await asAttacker(db, sql`update audit_logs set resource_name = 'eve' where id = ${ids[0]!}`)
  while ((await pseudonymiseBatch(db, keys, user)) > 0);
  assert.deepEqual(await kindsOf(db), ['erased 1'])
  await asAttacker(db, sql`update audit_logs set resource_name = 'mallory' where id = ${ids[1]!}`)
  assert.deepEqual(await kindsOf(db), ['erased 1', 'erased 2'])
})

test('erasures outlive their signing key, once a newer one is in the ring', async t => {
  const db = await openDatabase(t)
  const [old, fresh] = [generateKey(new Date('2020-01-01')), generateKey()]
  const ringOf = (...ring: string[]) => new AuditLog(new AuditKeys(parseKeyring(ring.join(','))))
  const [before, during, after] = [ringOf(old), ringOf(fresh, old), ringOf(fresh)]
  const user = randomUUID()
  await before.write(db, { eventType: 'app', action: 'create', resource: 'app', userId: user, actor: 'zuzana' })
  await pseudonymiseBatch(db, before.keys, user)
  await during.write(db, { eventType: 'app', action: 'create', resource: 'app' })
  await sealBatch(db, during.keys)

  assert.deepEqual(
    (await verifyAudit(db, after.keys)).problems.map(({ kind }) => kind),
    ['erased']
  )
  assert.equal(await renewErasures(db, during.keys), 1)
  assert.equal(await renewErasures(db, during.keys), 0)
  assert.deepEqual((await verifyAudit(db, after.keys)).problems, [])
})

test('delaying the sealing to remove a row without a trace is visible as unsealed rows', async t => {
  const db = await openDatabase(t)
  assert.equal(await unsealedAge(db), 0)
  await db.transaction(async attacker => {
    await attacker.execute(sql`select pg_advisory_xact_lock(hashtext('rhone.audit-chain'))`)
    await write(db, 1)
    assert.equal(await sealBatch(db, keys), 0)
    const age = await unsealedAge(db)
    assert.ok(age > 0)
    assert.ok((await unsealedAge(db)) > age)
  })
  assert.equal(await sealBatch(db, keys), 1)
  assert.equal(await unsealedAge(db), 0)
})

test('a row inserted past the trigger is detected, even if it is older than the first link', async t => {
  const db = await openDatabase(t)
  await sealed(db, 2)
  await db.execute(
    sql`insert into audit_logs (event_type, action, resource, created_at) values ('app', 'create', 'app', now() - interval '5 years')`
  )
  await db.delete(auditUnsealed)
  assert.deepEqual(await kindsOf(db), ['added'])
})

test('changes in a partition are refused like in the table', async t => {
  const db = await openDatabase(t)
  await write(db, 1)
  const [{ partition } = { partition: '' }] = await db.execute<{ partition: string }>(
    sql`select tableoid::regclass::text as partition from audit_logs`
  )
  assert.match(partition, /^audit_logs_\d{4}_\d{2}$/)
  for (const statement of [`update ${partition} set actor = 'x'`, `delete from ${partition}`, `truncate ${partition}`])
    await assert.rejects(db.execute(sql.raw(statement)), (error: Error) => /append-only/.test(String(error.cause)))
})

test('details are covered by the same text before they are written and after they are read', async t => {
  const db = await openDatabase(t)
  for (const details of [
    { b: 1, a: { d: [1, { z: null, y: 'ë' }], c: true } },
    { at: new Date(0), 10: 'x', 9: 'y', gone: undefined, list: [undefined] },
    { number: 1e21, small: 1e-7, negative: -0, huge: 123456789012345680000 },
    { ['__proto__']: 1, constructor: 2 },
    {}
  ]) {
    const written = canonicalDetails(details)
    const [row] = await db.execute<{ text: string }>(sql`select ${written}::jsonb::text as text`)
    const at = (detailsText: string) => ({ detailsText }) as ChainedRow
    assert.equal(rowText(at(row!.text)), rowText(at(''), written))
  }
})
