import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, readFile, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { buildApp } from '../../src/app.ts'
import { main } from '../../src/cli/main.ts'
import { parseKeyring } from '../../src/config/keyring.ts'
import { backupSettingsOf } from '../../src/wiring/backups.ts'
import { migrateDatabase } from '../../src/wiring/migrations.ts'
import { makeIdentity, recipientOf } from '../../src/workflows/backups/sealing.ts'
import { FakeS3 } from '../fakes/s3/server.ts'
import { testConfig } from '../support/app.ts'
import { connectTo, directoryFor } from '../support/backups.ts'
import { emptyDatabase, freshDatabase } from '../support/database.ts'
import { startServer } from '../support/process.ts'

/* The cases of docs/RECOVERY.md, with the commands that it names. */

type Environment = Record<string, string>

/** `rhone ...` with this environment and nothing else. */
async function rhone(environment: Environment, ...args: string[]) {
  let out = ''
  let said = ''
  const code = await main(args, {
    stdout: text => {
      out += text
    },
    stderr: text => {
      said += text
    },
    environment: () => ({ LOG_LEVEL: 'silent', ...environment })
  })
  return { code, out, said, json: () => JSON.parse(out) }
}

async function succeed(environment: Environment, ...args: string[]) {
  const result = await rhone(environment, ...args)
  assert.equal(result.code, 0, result.said)
  return result
}

/** A folder for backups, and a key that is stored elsewhere. */
async function vault(t: TestContext) {
  const directory = await directoryFor(t)
  const identity = await makeIdentity()
  const identityFile = join(await directoryFor(t), 'key.txt')
  await writeFile(identityFile, `# created: today\n${identity}\n`)
  const environment = { BACKUP_URL: `file://${directory}`, BACKUP_RECIPIENTS: await recipientOf(identity) }
  return { directory, identityFile, environment }
}

/** The environment of a development server with its own DATA_DIR and database, and the platform's first rows. */
async function installation(t: TestContext, more: Environment) {
  const environment = { DATA_DIR: await directoryFor(t), DATABASE_URL: await freshDatabase(t), ...more }
  const sql = connectTo(t, environment.DATABASE_URL)
  await sql`insert into users (username, is_admin) values ('ada', true)`
  await sql`insert into teams (name, slug) values ('Ada''s', 'ada')`
  return environment
}

/** The same settings over another directory and an empty database. */
async function another<Of extends Environment>(t: TestContext, environment: Of) {
  return { ...environment, DATA_DIR: await directoryFor(t), DATABASE_URL: await emptyDatabase(t) }
}

test('the database is lost: an empty directory and no other setting restore it, closed', async t => {
  const { environment, identityFile } = await vault(t)
  const lost = await installation(t, environment)
  const made = (await succeed(lost, 'backup', 'create', '--json')).json()
  assert.equal(made.checked, 'read back')

  // With an embedded database, which the command creates itself.
  const bare = { DATA_DIR: join(await directoryFor(t), 'new'), BACKUP_URL: environment.BACKUP_URL }
  const refused = await rhone(bare, 'backup', 'restore')
  assert.deepEqual([refused.code, refused.out], [1, ''])
  assert.match(refused.said, /a private age key is needed to open backups: give its file as BACKUP_IDENTITY_FILE/)
  const restored = (await succeed(bare, 'backup', 'restore', '--identity', identityFile, '--json')).json()
  assert.equal(restored.backup, made.id)
  const keysIn = (directory: string) => readFile(join(directory, 'keys.json'), 'utf8')
  assert.equal(await keysIn(bare.DATA_DIR), await keysIn(lost.DATA_DIR))
  assert.equal((await stat(join(bare.DATA_DIR, 'operator-token'))).mode & 0o777, 0o600)
  await succeed(bare, 'audit', 'verify')
  assert.match((await succeed(bare, 'maintenance', 'status', '--direct')).out, /platform +closed/)
  const again = await rhone(bare, 'backup', 'restore', '--identity', identityFile)
  assert.match(again.said, /the database holds \d+ tables, and a restore goes into an empty one only/)
})

test('a server starts on the restored database, closed to all but the operator, whose new token is in DATA_DIR', async t => {
  const { environment, identityFile } = await vault(t)
  const lost = await installation(t, environment)
  await succeed(lost, 'backup', 'create')
  const found = await another(t, lost)
  await succeed(found, 'backup', 'restore', '--identity', identityFile)
  const stored = JSON.parse(await readFile(join(found.DATA_DIR, 'keys.json'), 'utf8')) as Record<string, string>
  const keys = {
    session: parseKeyring(stored.session!),
    encryption: parseKeyring(stored.encryption!),
    signing: parseKeyring(stored.signing!)
  }
  const config = await testConfig(t, { DATABASE_URL: found.DATABASE_URL })
  const app = await buildApp({ ...config, keys, swaps: { ...config.swaps, pressure: false } })
  t.after(() => app.close())
  await app.ready()
  await app.startup.completed
  const ping = async () => {
    const { statusCode, body } = await app.inject('/api/v1/ping')
    return `${statusCode} ${body}`
  }
  assert.match(await ping(), /^503 .*MAINTENANCE/)
  const authorization = `Bearer ${(await readFile(join(found.DATA_DIR, 'operator-token'), 'utf8')).trim()}`
  const opened = await app.inject({
    method: 'POST',
    url: '/admin/maintenance',
    headers: { authorization },
    payload: { enabled: false }
  })
  assert.equal(opened.statusCode, 200, opened.body)
  assert.match(await ping(), /^200 /)
})

test('keys are lost: age and zstd extract them from the backup', async t => {
  const { environment, identityFile, directory } = await vault(t)
  const lost = await installation(t, environment)
  const { id } = (await succeed(lost, 'backup', 'create', '--json')).json()
  const command = 'age -d -i "$1" "$2" | zstd -dc'
  const object = join(directory, 'backups', id, 'keys.json.zst.age')
  const { stdout } = await promisify(execFile)('sh', ['-c', command, 'sh', identityFile, object])
  const { session, encryption, signing } = JSON.parse(await readFile(join(lost.DATA_DIR, 'keys.json'), 'utf8'))
  const { keyrings, settings } = JSON.parse(stdout)
  assert.deepEqual(keyrings, { SESSION_KEYS: session, ENCRYPTION_KEYS: encryption, SIGNING_KEYS: signing })
  assert.equal(settings.environment, 'development')
  assert.ok(!JSON.stringify(settings).includes(session))

  await succeed(lost, 'team', 'export', 'ada')
  const withoutKeys = { ...lost, DATA_DIR: await directoryFor(t) }
  assert.equal((await rhone(withoutKeys, 'audit', 'verify')).code, 1)
  await succeed({ ...withoutKeys, ...keyrings }, 'audit', 'verify')
})

test('the private age key is lost: backups for another one are readable at once', async t => {
  const { environment, identityFile } = await vault(t)
  const server = await installation(t, environment)
  await succeed(server, 'backup', 'create')
  const next = await vault(t)
  const renewed = { ...server, BACKUP_RECIPIENTS: next.environment.BACKUP_RECIPIENTS }
  const { id } = (await succeed(renewed, 'backup', 'create', '--json')).json()
  await succeed(renewed, 'backup', 'verify', id, '--identity', next.identityFile)
  assert.equal((await rhone(renewed, 'backup', 'verify', id, '--identity', identityFile)).code, 1)
})

test('a region is lost: another machine restores from the bucket', async t => {
  const s3 = await new FakeS3().listen()
  t.after(() => s3.close())
  const { environment, identityFile } = await vault(t)
  const lost = await installation(t, {
    ...environment,
    BACKUP_URL: `s3://${s3.bucket}/rhone?endpoint=${s3.url}&region=elsewhere`,
    AWS_ACCESS_KEY_ID: s3.credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: s3.credentials.secretAccessKey
  })
  await succeed(lost, 'backup', 'create')
  const elsewhere = await another(t, lost)
  await succeed(elsewhere, 'backup', 'restore', '--identity', identityFile)
  assert.equal((await connectTo(t, elsewhere.DATABASE_URL)`select from teams where slug = 'ada'`).length, 1)
})

test('a migration did damage: the earlier backup has the data, and its schema is migrated', async t => {
  const { environment, identityFile } = await vault(t)
  const damaged = await installation(t, environment)
  const before = (await succeed(damaged, 'backup', 'create', '--json')).json()
  const sql = connectTo(t, damaged.DATABASE_URL)
  await sql`alter table teams drop column name`
  await sql`insert into schema_migrations (idx, tag, checksum)
    values (9999, '9999_wrong', 'of a release that was withdrawn')`
  await succeed(damaged, 'backup', 'create')
  await succeed(damaged, 'maintenance', 'on', '--direct')
  const mended = await another(t, damaged)
  const newest = await rhone(mended, 'backup', 'restore', '--identity', identityFile)
  assert.match(newest.said, /has migration 9999_wrong, which this version does not know/)
  await succeed(mended, 'backup', 'restore', before.id, '--identity', identityFile)
  assert.deepEqual(await migrateDatabase(mended.DATABASE_URL), { applied: [], indexed: [] })
  assert.equal((await connectTo(t, mended.DATABASE_URL)`select from teams where name = 'Ada''s'`).length, 1)
})

test('a team was deleted: a restored backup, which starts no work, shows what it had, to be created again', async t => {
  const { environment, identityFile } = await vault(t)
  const current = { DATA_DIR: await directoryFor(t), DATABASE_URL: await freshDatabase(t), ...environment }
  const { url, token } = await startServer(t, current)
  const here = { ...current, RHONE_URL: url, RHONE_TOKEN: token }
  const create = async (file: string) => {
    await succeed(here, 'teams', 'create', 'Acme')
    await succeed(here, 'apps', 'create', 'Site', '--team', 'acme', '--git', 'https://git.example.com/site.git')
    await succeed(here, 'env', 'import', 'site', file)
  }
  const file = join(await directoryFor(t), 'env')
  await writeFile(file, 'GREETING=hello\n')
  await create(file)
  await succeed(current, 'backup', 'create')
  await succeed(here, 'apps', 'delete', 'site', '--confirm', 'site')
  const headers = { authorization: `Bearer ${token}` }
  const deleted = await fetch(`${url}/api/v1/teams/acme`, { method: 'DELETE', headers })
  assert.equal(deleted.status, 204, await deleted.text())

  const beside = await another(t, current)
  await succeed(beside, 'backup', 'restore', '--identity', identityFile)
  const sql = connectTo(t, beside.DATABASE_URL)
  assert.equal((await sql`select from pgboss.job where state < 'completed'`).length, 0)
  const overview = (await succeed(beside, 'team', 'export', 'acme')).out
  assert.match(overview, /^site +https:\/\/git\.example\.com\/site\.git +GREETING$/m)
  assert.ok(!overview.includes('hello'))
  const { plan, members, apps } = (await succeed(beside, 'team', 'export', 'acme', '--json')).json()
  assert.equal(plan, 'pro')
  assert.deepEqual(
    members.map(({ username, role }: Record<string, string>) => [username, role]),
    [['operator', 'owner']]
  )
  assert.deepEqual(apps[0].env, [{ key: 'GREETING', value: 'hello', buildTime: false }])
  const recorded = await sql`select from audit_logs where action = 'export' and resource_name = 'acme'`
  assert.equal(recorded.length, 2)
  assert.match((await rhone(here, 'team', 'export', 'acme')).said, /not found/)

  await writeFile(file, apps[0].env.map(({ key, value }: Record<string, string>) => `${key}=${value}\n`).join(''))
  await create(file)
  assert.match((await succeed(here, 'env', 'list', 'site')).out, /^GREETING /m)
})

test('ransom: changes to the storage are detected, with and without the private key', async t => {
  const { environment, identityFile, directory } = await vault(t)
  const server = await installation(t, environment)
  const first = (await succeed(server, 'backup', 'create', '--json')).json()
  const second = (await succeed(server, 'backup', 'create', '--json')).json()
  const path = (id: string) => join(directory, 'backups', id, 'data.tar.zst.age')
  await copyFile(path(first.id), path(second.id))
  for (const key of [['--identity', identityFile], []]) {
    const changed = await rhone(server, 'backup', 'verify', second.id, ...key)
    assert.equal(changed.code, 1)
    assert.match(changed.said, /data\.tar\.zst\.age|it is not what was written/)
  }
  await succeed(server, 'backup', 'verify', first.id, '--identity', identityFile)
  const withoutKey = await succeed(server, 'backup', 'verify', first.id)
  assert.match(withoutKey.said, /nothing was decrypted/)
})

test('ransom: a forged backup, which anybody can encrypt, does not have our keys', async t => {
  const { environment, identityFile } = await vault(t)
  const server = await installation(t, environment)
  await succeed(server, 'team', 'export', 'ada')
  const forged = await succeed({ ...server, DATA_DIR: await directoryFor(t) }, 'backup', 'create', '--json')
  const { signing } = JSON.parse(await readFile(join(server.DATA_DIR, 'keys.json'), 'utf8'))
  const bare = await another(t, server)
  const restore = ['backup', 'restore', forged.json().id, '--identity', identityFile]
  const refused = await rhone({ ...bare, SIGNING_KEYS: signing }, ...restore)
  assert.equal(refused.code, 1)
  assert.match(refused.said, /SIGNING_KEYS: the key ".*" is missing/)
  await succeed(bare, ...restore)
  const unsigned = await rhone({ ...bare, SIGNING_KEYS: signing }, 'audit', 'verify')
  assert.equal(unsigned.code, 1, unsigned.out)
})

test('without recipients, production creates no readable backup', async t => {
  const config = { ...(await testConfig(t)), production: true, environment: 'production' as const }
  await assert.rejects(backupSettingsOf(config, 'postgres://unused'), /BACKUP_RECIPIENTS: is required for backups/)
})

test('a webhook receives valid JSON for every success and failure', async t => {
  const heard: { event: string; outcome: string; text: string }[] = []
  const server = createServer(async (request, response) => {
    heard.push(JSON.parse(Buffer.concat(await Array.fromAsync(request)).toString()))
    response.end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const { environment } = await vault(t)
  const NOTIFY_WEBHOOK_URL = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  const told = await installation(t, { ...environment, NOTIFY_WEBHOOK_URL })
  await succeed(told, 'backup', 'create')
  const broken = { ...told, BACKUP_URL: `file://${join(told.DATA_DIR, 'keys.json')}/"quoted"` }
  assert.equal((await rhone(broken, 'backup', 'create')).code, 1)
  assert.deepEqual(
    heard.map(({ event, outcome }) => [event, outcome]),
    [
      ['backup', 'success'],
      ['backup', 'failure']
    ]
  )
  const silent = await succeed({ ...told, NOTIFY_WEBHOOK_URL: 'http://127.0.0.1:9/' }, 'backup', 'create')
  assert.match(silent.said, /notification to NOTIFY_WEBHOOK_URL failed/)
})

test('a drill checks everything in a temporary database', async t => {
  const { environment, identityFile } = await vault(t)
  const server = await installation(t, environment)
  await succeed(server, 'backup', 'create')
  const drill = (await succeed(server, 'backup', 'drill', '--identity', identityFile, '--json')).json()
  assert.ok(
    drill.rows > 0 && drill.indexes > 50 && drill.rtoSeconds > 0 && drill.rpoSeconds >= 0,
    JSON.stringify(drill)
  )
  await assert.rejects(stat(join(server.DATA_DIR, 'drill')), { code: 'ENOENT' })
  const gone = { ...server, BACKUP_URL: `file://${await directoryFor(t)}` }
  const failed = await rhone(gone, 'backup', 'drill', '--identity', identityFile)
  assert.deepEqual([failed.code, failed.out], [1, ''])
  assert.match(failed.said, /there is no complete backup here/)
})
