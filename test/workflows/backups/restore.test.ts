import assert from 'node:assert/strict'
import { readFile, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { drizzle } from 'drizzle-orm/postgres-js'
import type { Sql } from 'postgres'
import * as schema from '../../../drizzle/schema.ts'
import { generateKey, parseKeyring } from '../../../src/config/keyring.ts'
import { AuditKeys } from '../../../src/domain/audit/keys.ts'
import { AuditLog } from '../../../src/domain/audit/log.ts'
import { sealBatch } from '../../../src/domain/audit/seal.ts'
import { verifyAudit } from '../../../src/domain/audit/verify.ts'
import { SecretBox } from '../../../src/domain/base/secret-box.ts'
import { migrateDatabase } from '../../../src/wiring/migrations.ts'
import { ownMigrator } from '../../../src/wiring/migrator.ts'
import { createBackup } from '../../../src/workflows/backups/create.ts'
import { type RestoreSettings, restoreBackup } from '../../../src/workflows/backups/restore.ts'
import type { BackupSettings } from '../../../src/workflows/backups/settings.ts'
import { backupSettings, connectTo } from '../../support/backups.ts'
import { emptyDatabase, freshDatabase } from '../../support/database.ts'

const migrator = await ownMigrator()
const APP = '0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a'

/** A platform with a user who is signed in, a sealed variable, audit rows, and a job that waits. */
async function fill({ databaseUrl, keyrings }: BackupSettings, sql: Sql): Promise<void> {
  const [user] = await sql`insert into users (username, is_admin) values ('ada', true) returning id`
  const [team] = await sql`insert into teams (name, slug) values ('Ada''s', 'ada') returning id`
  await sql`insert into apps (id, team_id, name, slug) values (${APP}, ${team!.id}, 'hello', 'hello')`
  await sql`insert into api_tokens (user_id, name, token_hash, prefix, scopes)
    values (${user!.id}, 'old', ${Buffer.alloc(32, 1)}, 'rhn_old', '{read}')`
  await sql`insert into sessions (user_id, secret_hash, method, as_operator, idle_until, expires_at)
    values (${user!.id}, ${Buffer.alloc(32, 2)}, 'password', false, now() + interval '1 day', now() + interval '1 day')`
  const { keyId, nonce, ciphertext } = new SecretBox(parseKeyring(keyrings.ENCRYPTION_KEYS)).seal('opens', {
    appId: APP,
    key: 'GREETING'
  })
  await sql`insert into env_vars (app_id, key, value_encrypted, nonce, key_id)
    values (${APP}, 'GREETING', ${ciphertext}, ${nonce}, ${keyId})`
  await sql`select pgboss.create_queue('mail', ${sql.json({ policy: 'standard' })}::jsonb)`
  await sql`insert into pgboss.job (name, data) values ('mail', '{}'), ('mail', '{}')`
  const keys = new AuditKeys(parseKeyring(keyrings.SIGNING_KEYS))
  const db = databaseOver(sql)
  const log = new AuditLog(keys)
  for (let n = 0; n < 5; n++)
    await log.write(db, { eventType: 'app', action: 'create', resource: 'app', resourceId: String(n) })
  await sealBatch(db, keys)
  assert.ok(databaseUrl)
}

const databaseOver = (sql: Sql) => drizzle(sql, { schema, casing: 'snake_case' }) as never

/** Rows without the properties that the driver adds. */
const plain = (rows: Iterable<object>) => [...rows].map(row => ({ ...row }))

async function target(t: TestContext, from: BackupSettings, changes: Partial<RestoreSettings> = {}) {
  const databaseUrl = await emptyDatabase(t)
  const { storage, identities } = from
  return { storage, identities, backup: 'latest', databaseUrl, keyrings: {}, by: 'tester', ...changes }
}

test('an empty database and environment are restored completely, and closed', async t => {
  const settings = await backupSettings(t)
  const source = connectTo(t, settings.databaseUrl)
  await fill(settings, source)
  const made = await createBackup(settings)
  const restored = await restoreBackup(await target(t, settings), migrator)
  assert.deepEqual(restored.keyrings, settings.keyrings)
  assert.deepEqual([restored.sessions, restored.tokens, restored.jobs], [1, 1, 2])

  const url = (await target(t, settings)).databaseUrl
  const again = await restoreBackup(await target(t, settings, { databaseUrl: url, backup: made.id }), migrator)
  const sql = connectTo(t, url)
  assert.deepEqual(plain(await sql`select name, slug from apps`), [{ name: 'hello', slug: 'hello' }])
  assert.equal((await sql`select from sessions`).length, 0)
  assert.deepEqual(
    (await sql`select name, revoked_at is null as valid from api_tokens order by created_at`).map(({ name, valid }) => [
      name,
      valid
    ]),
    [
      ['old', false],
      ['after a restore', true]
    ]
  )
  assert.match(again.operatorToken!, /^rhone_/)
  assert.deepEqual(plain(await sql`select distinct state::text, output ->> 'message' as message from pgboss.job`), [
    { state: 'failed', message: `held by the restore of backup ${made.id}: retry it to have it done` }
  ])
  const [maintenance] = await sql`select enabled, changed_by from maintenance_state`
  assert.deepEqual({ ...maintenance }, { enabled: true, changed_by: 'tester' })
  const [secret] = await sql`select value_encrypted, nonce, key_id from env_vars`
  const box = new SecretBox(parseKeyring(again.keyrings.ENCRYPTION_KEYS))
  assert.equal(
    box.open(
      { keyId: secret!.key_id, nonce: secret!.nonce, ciphertext: secret!.value_encrypted },
      { appId: APP, key: 'GREETING' }
    ),
    'opens'
  )
  const keys = new AuditKeys(parseKeyring(again.keyrings.SIGNING_KEYS))
  const report = await verifyAudit(databaseOver(sql), keys)
  assert.deepEqual([report.problems, report.intact, report.waiting], [[], 5, 1])
  const [row] = await sql`select actor, resource_id, details from audit_logs where action = 'restore'`
  assert.equal(row!.resource_id, made.id)
  assert.equal(row!.details.from, made.takenAt)
  assert.ok(Date.parse(row!.details.to) >= Date.parse(row!.details.from))
  const [next] = await sql`select nextval(pg_get_serial_sequence('audit_unsealed', 'position')) as next`
  assert.ok(Number(next!.next) > 6)
  await migrateDatabase(url)
  await assert.rejects(sql`delete from audit_logs`, /append-only/)
})

test('nothing is written if a required key is missing or different', async t => {
  const settings = await backupSettings(t)
  const source = connectTo(t, settings.databaseUrl)
  await fill(settings, source)
  await createBackup(settings)
  const [id] = settings.keyrings.ENCRYPTION_KEYS.split(':')
  const other = generateKey()
  for (const [ENCRYPTION_KEYS, problem] of [
    [other, new RegExp(`ENCRYPTION_KEYS: the key "${id}" is missing`)],
    [`${id}:${other.split(':')[1]}`, new RegExp(`ENCRYPTION_KEYS: the key "${id}" is not the one of the backup`)]
  ] as const) {
    const into = await target(t, settings, { keyrings: { ENCRYPTION_KEYS } })
    await assert.rejects(restoreBackup(into, migrator), problem)
    assert.equal(
      (await connectTo(t, into.databaseUrl)`select from pg_class where relnamespace = 'public'::regnamespace`).length,
      0
    )
  }
})

test('without the keyrings object, the keyrings of the environment are used', async t => {
  const settings = await backupSettings(t)
  const made = await createBackup(settings)
  const { directory } = settings.storage as { directory: string }
  await unlink(join(directory, 'backups', made.id, 'keys.json.zst.age'))
  const into = await target(t, settings, { backup: made.id })
  await assert.rejects(restoreBackup(into, migrator), /SIGNING_KEYS: the key ".*" is missing/)
  const restored = await restoreBackup({ ...into, keyrings: settings.keyrings }, migrator)
  assert.deepEqual(restored.recovered, [])
  await assert.rejects(restoreBackup(await target(t, settings), migrator), /there is no complete backup/)
})

test('a database that is not empty is left alone', async t => {
  const settings = await backupSettings(t)
  await createBackup(settings)
  const databaseUrl = await freshDatabase(t)
  await assert.rejects(
    restoreBackup(await target(t, settings, { databaseUrl }), migrator),
    /the database holds \d+ tables, and a restore goes into an empty one only/
  )
})

test('a damaged, truncated or missing backup leaves the database untouched', async t => {
  const settings = await backupSettings(t)
  const made = await createBackup(settings)
  const { directory } = settings.storage as { directory: string }
  const path = join(directory, 'backups', made.id, 'data.tar.zst.age')
  const good = await readFile(path)
  const flipped = Buffer.from(good)
  flipped[good.length - 5]! ^= 1
  const into = await target(t, settings, { backup: made.id })
  for (const [content, problem] of [
    [flipped, /data\.tar\.zst\.age/],
    [good.subarray(0, -1), /is damaged: data\.tar\.zst\.age has \d+ bytes/]
  ] as const) {
    await writeFile(path, content)
    await assert.rejects(restoreBackup(into, migrator), problem)
  }
  await unlink(path)
  await assert.rejects(restoreBackup(into, migrator), /data\.tar\.zst\.age is missing/)
  await assert.rejects(restoreBackup({ ...into, backup: 'nothing' }, migrator), /there is no backup nothing/)
  const sql = connectTo(t, into.databaseUrl)
  assert.equal((await sql`select from pg_class where relnamespace = 'public'::regnamespace`).length, 0)
})

test('an interrupted restore leaves a database on which no server starts, and can be repeated', async t => {
  const settings = await backupSettings(t)
  await fill(settings, connectTo(t, settings.databaseUrl))
  await createBackup(settings)
  const into = await target(t, settings)
  const broken = {
    ...migrator,
    migrate: async (url: string, upTo: string | null) => {
      await migrator.migrate(url, upTo)
      throw new Error('killed')
    }
  }
  await assert.rejects(restoreBackup(into, broken), /killed/)
  await assert.rejects(migrateDatabase(into.databaseUrl), /a restore into this database was cut off/)
  await restoreBackup(into, migrator)
  await migrateDatabase(into.databaseUrl)
})

test('a backup of a later version is refused, and one of an earlier version is migrated', async t => {
  const settings = await backupSettings(t)
  await fill(settings, connectTo(t, settings.databaseUrl))
  await createBackup(settings)
  const into = await target(t, settings)
  const older = { ...migrator, known: migrator.known.slice(0, -1) }
  await assert.rejects(
    restoreBackup(into, older),
    /has migration \w+, which this version does not know: restore it with Rhone 1\.2\.3/
  )

  const newer = {
    ...migrator,
    known: [...migrator.known, { tag: '9999_later', checksum: '' }],
    async migrate(url: string, upTo: string | null) {
      await migrator.migrate(url, upTo)
      if (upTo === null) await connectTo(t, url)`alter table users add column later text not null default 'added'`
    }
  }
  await restoreBackup(into, newer)
  const sql = connectTo(t, into.databaseUrl)
  assert.deepEqual(plain(await sql`select username, later from users`), [{ username: 'ada', later: 'added' }])
})
