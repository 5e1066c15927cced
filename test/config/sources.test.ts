import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import {
  ConfigError,
  loadConfig,
  openFeed,
  openSettings,
  SECRETS,
  SourceError,
  type Variables
} from '../../src/config/index.ts'
import { generateKey } from '../../src/config/keyring.ts'
import { dirSource } from '../../src/config/sources/dir.ts'
import { execSource } from '../../src/config/sources/exec.ts'
import { vaultSource } from '../../src/config/sources/vault.ts'
import { fakeVault } from '../fakes/vault/server.ts'
import { eventually } from '../support/eventually.ts'
import { volume } from '../support/secret-place.ts'

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'rhone-secrets-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

async function vault(t: TestContext, variables: Variables = {}) {
  const fake = await fakeVault()
  t.after(() => fake.close())
  fake.put('rhone', { METRICS_TOKEN: 'the-token-from-vault', OTHER: 'not ours' })
  const login = { kind: 'approle', roleId: 'role', secretId: 'secret' } as const
  const source = vaultSource({ origin: fake.url, mount: 'secret', path: 'rhone', login })
  const environment: Variables = {
    SECRETS_SOURCE: `vault:${fake.url}/secret/rhone`,
    VAULT_ROLE_ID: 'role',
    VAULT_SECRET_ID: 'secret',
    ...variables
  }
  return { fake, source, environment }
}

async function problemsOf(variables: Variables): Promise<readonly string[]> {
  try {
    await openSettings(() => variables)
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error))
    return error.problems
  }
  return []
}

const valuesOf = (found: Map<string, { value: string }>) =>
  Object.fromEntries([...found].map(([name, { value }]) => [name, value]))

test('a directory provides a secret per file, without the final newline', async t => {
  const path = await directory(t)
  await writeFile(join(path, 'METRICS_TOKEN'), 'one,two\n')
  await writeFile(join(path, 'FLY_API_TOKEN'), '')
  const found = await dirSource(path).load(['METRICS_TOKEN', 'FLY_API_TOKEN', 'REDIS_URL'])
  assert.deepEqual(valuesOf(found), { METRICS_TOKEN: 'one,two' })
})

test('a swap of ..data is reported and read as one set, and versions show which values changed', async t => {
  const { path, swap } = await volume(t, { METRICS_TOKEN: 'first', FLY_API_TOKEN: 'same' })
  const source = dirSource(path)
  const names = ['METRICS_TOKEN', 'FLY_API_TOKEN']
  const before = await source.load(names)
  let reports = 0
  t.after(source.watch!(() => reports++))
  await swap({ METRICS_TOKEN: 'second', FLY_API_TOKEN: 'same' })
  await eventually(() => reports > 0)
  const after = await source.load(names)
  assert.deepEqual(valuesOf(after), { METRICS_TOKEN: 'second', FLY_API_TOKEN: 'same' })
  assert.notEqual(after.get('METRICS_TOKEN')!.version, before.get('METRICS_TOKEN')!.version)
  assert.equal(after.get('FLY_API_TOKEN')!.version, before.get('FLY_API_TOKEN')!.version)
})

test('a directory replaces a value atomically, readable by its owner only', async t => {
  const path = await directory(t)
  const source = dirSource(path)
  await source.store!('METRICS_TOKEN', 'fresh')
  assert.deepEqual(valuesOf(await source.load(['METRICS_TOKEN'])), { METRICS_TOKEN: 'fresh' })
  assert.deepEqual(await readdir(path), ['METRICS_TOKEN'])
  await assert.rejects(
    dirSource(join(path, 'none')).store!('METRICS_TOKEN', 'x'),
    /dir:.*none: cannot be read \(ENOENT\)/
  )
})

test('a command prints its secrets as JSON', async () => {
  const print = (text: string) => execSource(`printf '%s' '${text}'`)
  const found = await print('{"METRICS_TOKEN":"a","FLY_API_TOKEN":"","OTHER":1}').load([
    'METRICS_TOKEN',
    'FLY_API_TOKEN'
  ])
  assert.deepEqual(valuesOf(found), { METRICS_TOKEN: 'a' })
  for (const text of ['', '[]', 'null', '"s3cret"', 's3cret'])
    await assert.rejects(print(text).load(['METRICS_TOKEN']), (error: Error) => {
      assert.match(error.message, /^exec:printf: did not print a JSON object/)
      return !error.message.includes('s3cret')
    })
  await assert.rejects(print('{"METRICS_TOKEN":1}').load(['METRICS_TOKEN']), /METRICS_TOKEN must be text/)
})

test('a command that fails, hangs or floods is ended and reported', async () => {
  await assert.rejects(execSource('exit 3').load([]), /failed with 3; run it by hand/)
  await assert.rejects(execSource('sleep 60 | cat', 50).load([]), /did not end within 0.05 s/)
  await assert.rejects(execSource('yes').load([]), /printed more than/)
})

test('Vault accepts an AppRole login, and returns our fields', async t => {
  const { fake, source } = await vault(t)
  const found = await source.load(['METRICS_TOKEN', 'REDIS_URL'])
  assert.deepEqual(Object.fromEntries(found), { METRICS_TOKEN: { value: 'the-token-from-vault', version: '1' } })
  await source.load(['METRICS_TOKEN'])
  assert.deepEqual(fake.calls, ['POST auth/approle/login', 'GET secret/data/rhone', 'GET secret/data/rhone'])
  await source.close!()
  assert.equal(fake.revoked.length, 1)
})

test('Vault accepts a Kubernetes login, and its token is read again for each login', async t => {
  const { fake } = await vault(t)
  const tokenFile = join(await directory(t), 'token')
  await writeFile(tokenFile, 'service-account\n')
  const place = { origin: fake.url, mount: 'secret', path: 'rhone' }
  const source = vaultSource({ ...place, login: { kind: 'kubernetes', role: 'rhone', tokenFile } })
  await source.load([])
  fake.kubernetes.jwt = 'rotated'
  fake.revokeAll()
  await assert.rejects(source.load([]), /rejected the kubernetes login \(403\)/)
  await writeFile(tokenFile, 'rotated')
  await source.load([])
  assert.deepEqual(
    fake.logins.map(({ kind }) => kind),
    ['kubernetes', 'kubernetes']
  )
})

test('a token is renewed as long as possible; at its max_ttl the source logs in again, and no read fails', async t => {
  const { fake, source } = await vault(t)
  fake.lease = { ttl: 2, maxTtl: 3 }
  const until = performance.now() + 5_000
  while (performance.now() < until) await source.load(['METRICS_TOKEN'])
  assert.ok(fake.renewals.length >= 1, 'renewed')
  assert.ok(fake.logins.length >= 2, 'logged in again')
})

test('a revoked token leads to one more login; a missing permission is named', async t => {
  const { fake, source } = await vault(t)
  await source.load([])
  fake.revokeAll()
  await source.load([])
  assert.equal(fake.logins.length, 2)
  fake.policy.read = false
  await assert.rejects(source.load([]), /its policy does not allow secret\/data\/rhone$/)
})

test('a sealed Vault, a wrong path and a refused login are each named', async t => {
  const { fake, source } = await vault(t)
  fake.isSealed = true
  await assert.rejects(
    source.load([]),
    (error: Error) => error instanceof SourceError && /is sealed$/.test(error.message)
  )
  fake.isSealed = false
  fake.stored.clear()
  await assert.rejects(source.load([]), /has no secret at secret\/data\/rhone/)
  fake.approle.secretId = 'rotated'
  fake.revokeAll()
  await assert.rejects(source.load([]), /rejected the approle login \(400\)/)
})

test('a keyring can be encrypted with a transit key, even after a rotation of either', async t => {
  const { fake, source } = await vault(t)
  const login = { kind: 'approle', roleId: 'role', secretId: 'secret' } as const
  const place = { origin: fake.url, mount: 'secret', path: 'rhone', login }
  const sealing = vaultSource({ ...place, transit: { mount: 'transit', key: 'rhone' } })
  const read = async () => (await sealing.load(['SESSION_KEYS'])).get('SESSION_KEYS')?.value
  const stored = () => String(fake.stored.get('rhone')?.data.SESSION_KEYS)
  await sealing.store!('SESSION_KEYS', 'k1:first')
  assert.match(stored(), /^vault:v1:/)
  assert.equal(await read(), 'k1:first')
  fake.transit.push(randomBytes(32))
  assert.equal(await read(), 'k1:first')
  await sealing.store!('SESSION_KEYS', 'k2:second,k1:first')
  assert.match(stored(), /^vault:v2:/)
  assert.equal(await read(), 'k2:second,k1:first')
  await sealing.store!('METRICS_TOKEN', 'plain-as-before')
  assert.equal(fake.stored.get('rhone')?.data.METRICS_TOKEN, 'plain-as-before')

  await assert.rejects(
    source.load(['SESSION_KEYS']),
    /SESSION_KEYS is encrypted with a transit key, but SECRETS_SOURCE names none/
  )
  fake.put('rhone', { SESSION_KEYS: `${stored().slice(0, -8)}AAAAAAA=` })
  await assert.rejects(read(), /400/)
})

test('concurrent writes of others to Vault are kept', async t => {
  const { fake, source } = await vault(t)
  await source.store!('METRICS_TOKEN', 'replaced-0123456789')
  assert.deepEqual(fake.stored.get('rhone')?.data, { METRICS_TOKEN: 'replaced-0123456789', OTHER: 'not ours' })
  fake.policy.write = false
  await assert.rejects(source.store!('METRICS_TOKEN', 'x'), /policy does not allow/)
})

test('the settings come from the source, and everything else from the environment', async t => {
  const { environment } = await vault(t, { LOG_LEVEL: 'warn' })
  const { config, feed } = await openSettings(() => environment)
  t.after(() => feed.source.close!())
  assert.deepEqual([config.metricsTokens, config.logLevel], [['the-token-from-vault'], 'warn'])
  assert.deepEqual([...config.secrets.keys()].sort(), ['METRICS_TOKEN', 'VAULT_SECRET_ID'])
  const next = feed.configWith(new Map([['METRICS_TOKEN', 'a,b']]))
  assert.deepEqual(next.metricsTokens, ['a', 'b'])
})

test('the boot fails with the name of the source and of each wrong variable', async t => {
  const { fake, environment } = await vault(t)
  fake.put('rhone', { SESSION_KEYS: 'k1:short', METRICS_TOKEN: 'two words' })
  const where = `(from vault:${fake.url}/secret/rhone)`
  assert.deepEqual(await problemsOf(environment), [
    `METRICS_TOKEN: must be printable ASCII without spaces, so that scrapers can send it ${where}`,
    `SESSION_KEYS: key "k1" must be 32 bytes in base64, got 3 ${where}`
  ])
  fake.isSealed = true
  assert.deepEqual(await problemsOf(environment), [`SECRETS_SOURCE: vault:${fake.url}/secret/rhone: is sealed`])
})

test('a secret in two places is refused, and so is an invalid source', async t => {
  const { environment } = await vault(t, { METRICS_TOKEN: 'also-here' })
  assert.match((await problemsOf(environment)).join(), /^METRICS_TOKEN: is set in the environment, but its source is/)
  for (const [source, expected] of [
    ['dir:relative', /^SECRETS_SOURCE: must be env, dir:/],
    ['keychain', /^SECRETS_SOURCE: must be env, dir:/],
    ['exec: ', /^SECRETS_SOURCE: must be env, dir:/],
    ['vault:https://host/secret/rhone?transit=only', /its transit must be mount\/key/],
    ['vault:https://host/secret/rhone?other=x', /must be vault:https:/],
    ['vault:https://host/only-mount', /^SECRETS_SOURCE: must be vault:https:\/\/host:port\/mount\/path/],
    ['vault:https://host/secret/rhone', /VAULT_ROLE_ID and VAULT_SECRET_ID, or else VAULT_KUBERNETES_ROLE/],
    ['dir:/nowhere-at-all', /^SECRETS_SOURCE: dir:\/nowhere-at-all: cannot be read \(ENOENT\)/]
  ] as const)
    assert.match((await problemsOf({ SECRETS_SOURCE: source })).join(), expected, source)
})

test('a production server does not use plain http to a remote Vault', async () => {
  const source = 'vault:http://vault.internal:8200/secret/rhone'
  assert.match((await problemsOf({ ENVIRONMENT: 'production', SECRETS_SOURCE: source })).join(), /must be https/)
})

test('files named by X_FILE are read again; the environment itself cannot change', async t => {
  const file = join(await directory(t), 'token')
  await writeFile(file, 'first\n')
  const feed = await openFeed({ METRICS_TOKEN_FILE: file, SESSION_KEYS: generateKey() })
  assert.equal((await feed.readSecrets()).get('METRICS_TOKEN'), 'first')
  await feed.source.store!('METRICS_TOKEN', 'second')
  assert.equal((await feed.readSecrets()).get('METRICS_TOKEN'), 'second')
  assert.equal(await readFile(file, 'utf8'), 'second\n')
  await assert.rejects(feed.source.store!('SESSION_KEYS', 'x'), /SESSION_KEYS: comes from the environment/)
  await rm(file)
  await assert.rejects(feed.readSecrets(), /METRICS_TOKEN_FILE: cannot be read \(ENOENT\)/)
})

test('the address of a replica may differ from region to region, beside the same secrets everywhere', async t => {
  const path = await directory(t)
  await writeFile(join(path, 'DATABASE_URL'), 'postgres://rhone:secret@db/rhone')
  const near = (DATABASE_REPLICA_URL: string) => ({ SECRETS_SOURCE: `dir:${path}`, DATABASE_REPLICA_URL })
  const { config, feed } = await openSettings(() => near('postgres://fra.db/rhone'))
  assert.equal(config.database.replicaUrl, 'postgres://rhone:secret@fra.db/rhone')
  const rotated = new Map([['DATABASE_URL', 'postgres://rhone_a:next@db/rhone']])
  assert.equal(feed.configWith(rotated).database.replicaUrl, 'postgres://rhone_a:next@fra.db/rhone')
  const problems = await problemsOf(near('postgres://rhone:secret@fra.db/rhone'))
  assert.match(problems.join(), /^DATABASE_REPLICA_URL: is set in the environment, but its source is/)
})

test('docs/SECRETS_MANAGEMENT.md has every secret of the schema, with its schedule', async () => {
  const text = await readFile(join(import.meta.dirname, '../../docs/SECRETS_MANAGEMENT.md'), 'utf8')
  const rows = [...text.matchAll(/^\| (`[A-Z].*?) \| (\d+) \|/gm)].flatMap(([, names, days]) =>
    [...names!.matchAll(/`([A-Z_]+)`/g)].map(([, name]) => [name!, Number(days)] as const)
  )
  const expected = [...SECRETS].map(([name, { days }]) => [name, days] as const)
  assert.deepEqual(Object.fromEntries(rows), Object.fromEntries(expected))
})

test('a database URL that cannot be decoded is refused by its name, beside a replica as well', () => {
  for (const [DATABASE_URL, DATABASE_REPLICA_URL, name] of [
    ['postgres://%zz:x@h/db', 'postgres://r@h2/db', 'DATABASE_URL'],
    ['postgres://a:x@h/db', 'postgres://%zz@h2/db', 'DATABASE_REPLICA_URL']
  ] as const)
    assert.throws(() => loadConfig({ DATABASE_URL, DATABASE_REPLICA_URL }), new RegExp(`${name}: `))
})
