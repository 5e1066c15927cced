import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { envVars } from '../../drizzle/schema.ts'
import { main } from '../../src/cli/main.ts'
import { classNames, classOf } from '../../src/cli/rotation/classes.ts'
import type { Variables } from '../../src/config/index.ts'
import { generateKey } from '../../src/config/keyring.ts'
import { testApp } from '../support/app.ts'
import { freshDatabase } from '../support/database.ts'

async function rhone(command: string, variables: Variables) {
  const written = { stdout: '', stderr: '' }
  const code = await main(command.split(' '), {
    stdout(text) {
      written.stdout += text
    },
    stderr: text => (written.stderr += text),
    environment: () => variables
  })
  return { code, ...written }
}

const keyOf = (id: string) => `${id}:${generateKey().split(':')[1]}`
const [OLD, NEW] = [keyOf('old'), keyOf('new')]

/** A server on an old key, with a variable of an app; and the environment with a new key before it. */
async function server(t: TestContext) {
  const url = await freshDatabase(t)
  const common = { DATABASE_URL: url, SESSION_KEYS: generateKey(), SIGNING_KEYS: generateKey() }
  const { app, as, token, config } = await testApp(t, { ...common, ENCRYPTION_KEYS: OLD })
  const { slug } = (await as(token, 'POST', '/api/v1/apps', { name: 'sealed' })).json()
  assert.equal((await as(token, 'PUT', `/api/v1/apps/${slug}/env/A`, { value: 'hidden' })).statusCode, 201)
  const env = { ...common, DATA_DIR: config.dataDir, METRICS_TOKEN: 'hidden-metrics-token' }
  return {
    app,
    env: { ...env, ENCRYPTION_KEYS: `${NEW},${OLD}` },
    envWith: (keys: string) => ({ ...env, ENCRYPTION_KEYS: keys })
  }
}

test('secrets rotate re-encrypts everything while a server runs, and then does nothing more', async t => {
  const { app, env } = await server(t)
  const first = await rhone('secrets rotate --json', env)
  assert.equal(first.code, 0, first.stderr)
  assert.deepEqual(JSON.parse(first.stdout), {
    keyId: 'new',
    rotated: { env_vars: 1, deployment_secrets: 0 },
    damaged: [],
    left: []
  })
  assert.match(first.stderr, /env_vars: 1/)
  assert.deepEqual(
    (await app.db.select().from(envVars)).map(({ keyId }) => keyId),
    ['new']
  )
  const second = await rhone('secrets rotate', env)
  assert.equal(second.code, 0)
  assert.match(second.stdout, /env_vars: 0 re-encrypted with key "new"/)
})

test('secrets rotate fails and names a missing key', async t => {
  const { envWith } = await server(t)
  const { code, stdout } = await rhone('secrets rotate', envWith(NEW))
  assert.equal(code, 1)
  assert.match(stdout, /env_vars: 1 encrypted with key "old", which is not in ENCRYPTION_KEYS/)
})

test('secrets rotate prints what to set in a source that it cannot write to', async t => {
  const { env } = await server(t)
  const rotated = await rhone('secrets rotate metrics', env)
  assert.equal(rotated.code, 0, rotated.stderr)
  assert.match(rotated.stderr, /set it there yourself/)
  const [, both] =
    /^METRICS_TOKEN=([\w-]{43},hidden-metrics-token)\n$/.exec(rotated.stdout) ?? assert.fail(rotated.stdout)
  const finished = await rhone('secrets rotate metrics --finish', { ...env, METRICS_TOKEN: both })
  assert.equal(finished.stdout, `METRICS_TOKEN=${both!.split(',')[0]}\n`)
})

test('secrets status shows the age of every secret and the use of each key, but no secrets', async t => {
  const { env } = await server(t)
  const { code, stdout } = await rhone('secrets status --json', env)
  assert.equal(code, 0)
  const { secrets, sealed, overdue } = JSON.parse(stdout)
  const byName = Object.fromEntries(secrets.map((secret: { name: string }) => [secret.name, secret]))
  assert.deepEqual(byName.ENCRYPTION_KEYS.keyIds, ['new', 'old'])
  assert.equal(byName.ENCRYPTION_KEYS.scheduleDays, 365)
  assert.deepEqual([byName.METRICS_TOKEN.state, byName.METRICS_TOKEN.ageDays], ['ok', 0])
  assert.equal(byName.FLY_API_TOKEN.state, 'not configured')
  assert.deepEqual(sealed, [{ table: 'env_vars', keyId: 'old', rows: 1, key: 'old' }])
  assert.deepEqual(overdue, [])

  const text = await rhone('secrets status', env)
  // The server has no such token, and only the older of the keys.
  assert.match(text.stdout, /^METRICS_TOKEN +ok +\d{4}-\d\d-\d\d +0 of 90 +0 of 1$/m)
  assert.deepEqual([byName.ENCRYPTION_KEYS.held, byName.ENCRYPTION_KEYS.running], [0, 1])
  assert.equal(byName.SESSION_KEYS.held, 1)
  assert.match(text.stdout, /^env_vars +old +old +1$/m)
  for (const output of [stdout, text.stdout, text.stderr])
    for (const value of ['hidden', ...env.ENCRYPTION_KEYS.split(/[,:]/).filter(part => part.length > 20)])
      assert.ok(!output.includes(value))
})

test('docs/SECRETS_MANAGEMENT.md lists the rotation class of each secret', async () => {
  const text = await readFile(join(import.meta.dirname, '../../docs/SECRETS_MANAGEMENT.md'), 'utf8')
  const rows = text.matchAll(/^\| (`[A-Z].*?) \| \d+ \| (?:`([\w-]+)`|-) \|/gm)
  const classes = [...rows].flatMap(([, names, name]) => {
    const first = /`(\w+)`/.exec(names!)![1]!
    return name === undefined || first === 'DATABASE_REPLICA_URL' ? [] : [[name, first]]
  })
  assert.deepEqual(
    classes.map(([name]) => classOf(name!)?.variable),
    classes.map(([, variable]) => variable)
  )
  assert.deepEqual(classes.map(([name]) => name!).toSorted(), classNames().toSorted())
})

test('both commands refuse unknown arguments', async () => {
  for (const command of ['secrets rotate now', 'secrets status --fast', 'secrets'])
    assert.equal((await rhone(command, {})).code, 2, command)
})
