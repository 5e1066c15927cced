import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { eq, sql } from 'drizzle-orm'
import { auditLogs } from '../../drizzle/schema.ts'
import { main } from '../../src/cli/main.ts'
import type { Config, Variables } from '../../src/config/index.ts'
import { directoryFor } from '../support/backups.ts'
import { ownCluster } from '../support/cluster.ts'
import { eventually } from '../support/eventually.ts'
import { startServer } from '../support/process.ts'
import { redisServer } from '../support/redis.ts'
import { repeatedly } from '../support/repeatedly.ts'
import { place, server } from '../support/secret-place.ts'
import { stays } from '../support/stays.ts'

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

/** What is tested is not the limits. */
const LOOSE = Object.fromEntries(
  ['AUTH', 'GENERAL', 'STRICT', 'USER'].map(name => [`RATE_LIMIT_${name}`, '1000/s:1000'])
)

/** The ids of the keys that an instance seals and signs with. */
const usedKeys = ({ keys: { signing, session, encryption } }: Config) =>
  [signing, session, encryption].map(ring => ring!.current.id).join()

/** Milliseconds of a pause in which nothing may be signed with a new key, and of those beside other classes. */
const [PAUSE, SHORT_PAUSE] = [20_000, 500]

test('every class is rotated while two servers run, without a failed request, and is recorded', async t => {
  const cluster = await ownCluster(t)
  await cluster.asSuperuser(async superuser => {
    await superuser`create role rhone login password 'first'`
    await superuser`create database rhone owner rhone`
  })
  const redis = await redisServer(t, ['--requirepass', 'first-password'])
  const secrets = await place(t, {
    DATABASE_URL: cluster.urlFor('rhone', 'rhone', 'first'),
    METRICS_TOKEN: 'first-metrics-token',
    GITHUB_WEBHOOK_SECRET: 'first-webhook-secret',
    ...(redis && { REDIS_URL: `redis://:first-password@127.0.0.1:${redis.port}` })
  })
  const instances = [await server(t, secrets, LOOSE), await server(t, secrets, LOOSE)]
  const { environment } = instances[0]!
  const env = { ...environment, DATABASE_ADMIN_URL_FILE: undefined }
  await secrets.write({ DATABASE_ADMIN_URL: cluster.urlFor('rhone') })
  const token = (await readFile(join(environment.DATA_DIR!, 'operator-token'), 'utf8')).trim()

  const over = new AbortController()
  t.after(() => over.abort())
  const failures: string[] = []
  let answered = 0
  let last = ''
  const load = instances.map(async ({ app }) => {
    while (!over.signal.aborted) {
      await app.db.execute(sql`select pg_sleep(0.05)`).catch(error => failures.push(String(error.cause ?? error)))
      const { statusCode, body } = await app.inject({
        method: 'POST',
        url: '/api/v1/auth/token',
        headers: { authorization: `Bearer ${token}` },
        payload: {}
      })
      if (statusCode >= 500) failures.push(`issued: ${statusCode} ${body}`)
      const { accessToken } = statusCode < 300 ? JSON.parse(body) : {}
      last = `${statusCode} ${body}`
      // What one signs, the other must read.
      for (const other of accessToken === undefined ? [] : instances) {
        const reply = await other.app.inject({ url: '/api/v1/me', headers: { authorization: `Bearer ${accessToken}` } })
        if (reply.statusCode !== 200) failures.push(`read: ${reply.statusCode} ${reply.body}`)
        else answered++
      }
    }
  })
  await eventually(() => answered > 5, Boolean, 15_000).catch(error => assert.fail(`${last} ${error}`))

  const before = new Map(instances[0]!.live.config.secrets)
  const classes = [
    'session',
    'signing',
    'encryption',
    'metrics',
    'github-webhook',
    'database',
    ...(redis ? ['redis'] : [])
  ]
  for (const name of classes) {
    const { code, stderr } = await rhone(`secrets rotate ${name} --wait 20`, env)
    assert.equal(code, 0, `${name}: ${stderr}`)
  }
  over.abort()
  await Promise.all(load)
  assert.deepEqual(failures, [])

  const { config } = instances[1]!.live
  for (const name of ['SESSION_KEYS', 'SIGNING_KEYS', 'ENCRYPTION_KEYS', 'METRICS_TOKEN', 'DATABASE_URL'])
    assert.notEqual(config.secrets.get(name), before.get(name), name)
  await eventually(() => config.keys.signing!.current.id !== 'old')
  assert.match(config.database.url!, /rhone_a:/)
  const { app } = instances[1]!
  const [login] = await app.db.execute(sql`select rolcanlogin from pg_roles where rolname = 'rhone'`)
  assert.deepEqual({ ...login }, { rolcanlogin: false })
  const rows = await app.db.select().from(auditLogs).where(eq(auditLogs.resource, 'secret'))
  const names = new Set(rows.filter(({ action }) => action === 'rotate').map(({ resourceName }) => resourceName))
  for (const name of ['SESSION_KEYS', 'SIGNING_KEYS', 'ENCRYPTION_KEYS', 'METRICS_TOKEN', 'DATABASE_URL'])
    assert.ok(names.has(name), name)

  const finished = await rhone('secrets rotate metrics --finish', env)
  assert.equal(finished.code, 0, finished.stderr)
  await eventually(() => config.metricsTokens.length === 1)
  const early = await rhone('secrets rotate session --finish', env)
  assert.deepEqual([early.code, /needed until 30 days/.test(early.stderr)], [1, true])
})

test('while one of two servers is suspended, nothing is signed with a key that it lacks, and no request fails', async t => {
  const cluster = await ownCluster(t)
  await cluster.asSuperuser(async superuser => {
    await superuser`create role rhone login password 'first'`
    await superuser`create database rhone owner rhone`
  })
  const redis = await redisServer(t, ['--requirepass', 'first-password'])
  const secrets = await place(t, {
    DATABASE_URL: cluster.urlFor('rhone', 'rhone', 'first'),
    METRICS_TOKEN: 'first-metrics-token',
    GITHUB_WEBHOOK_SECRET: 'first-webhook-secret',
    ...(redis && { REDIS_URL: `redis://:first-password@127.0.0.1:${redis.port}` })
  })
  const { app, live, environment } = await server(t, secrets, LOOSE)
  const paused = await startServer(t, {
    ...environment,
    DATA_DIR: await directoryFor(t),
    BASE_URL: live.config.baseUrl.href
  })
  await secrets.write({ DATABASE_ADMIN_URL: cluster.urlFor('rhone') })
  const token = (await readFile(join(environment.DATA_DIR!, 'operator-token'), 'utf8')).trim()

  const failures: string[] = []
  const asked: Promise<void>[] = []
  let answered = 0
  const load = repeatedly(
    t.signal,
    async () => {
      const issued = await app.inject({
        method: 'POST',
        url: '/api/v1/auth/token',
        headers: { authorization: `Bearer ${token}` },
        payload: {}
      })
      if (issued.statusCode !== 201) failures.push(`issued: ${issued.statusCode} ${issued.body}`)
      const headers = { authorization: `Bearer ${issued.json().accessToken}` }
      // Whatever comes during a pause waits, and meets the keys from before it.
      const reading = fetch(`${paused.url}/api/v1/me`, { headers }).then(async reply => {
        if (reply.status === 200) answered++
        else failures.push(`read: ${reply.status} ${await reply.text()}`)
      })
      asked.push(reading.catch(error => void failures.push(`read: ${error.cause ?? error}`)))
    },
    100
  )
  await eventually(() => {
    assert.deepEqual(failures, [])
    return answered > 5
  })

  for (const [name, variable] of Object.entries({
    signing: 'SIGNING_KEYS',
    session: 'SESSION_KEYS',
    encryption: 'ENCRYPTION_KEYS',
    metrics: 'METRICS_TOKEN',
    'github-webhook': 'GITHUB_WEBHOOK_SECRET',
    database: 'DATABASE_URL',
    ...(redis && { redis: 'REDIS_URL' })
  })) {
    const before = live.config.secrets.get(variable)
    const usedBefore = usedKeys(live.config)
    paused.child.kill('SIGSTOP')
    const rotation = rhone(`secrets rotate ${name} --wait 60`, environment)
    await eventually(() => live.config.secrets.get(variable) !== before)
    await stays(() => usedKeys(live.config) === usedBefore, name === 'signing' ? PAUSE : SHORT_PAUSE)
    paused.child.kill('SIGCONT')
    const { code, stderr } = await rotation
    assert.equal(code, 0, `${name}: ${stderr}`)
  }
  await eventually(() => !usedKeys(live.config).includes('old'))
  await load.stop()
  await Promise.all(asked)
  assert.deepEqual(failures, [])
})

test('an unknown class, or one that needs an external value, is explained', async t => {
  const cluster = await ownCluster(t)
  await cluster.asSuperuser(superuser => superuser`create database rhone`)
  const secrets = await place(t, { DATABASE_URL: cluster.urlFor('rhone'), REGISTRY_TOKEN: 'first-registry-token' })
  const { environment, live } = await server(t, secrets)
  const unknown = await rhone('secrets rotate everything', environment)
  assert.equal(unknown.code, 2)
  assert.match(unknown.stderr, /unknown class "everything"; the classes are session, signing/)
  const missing = await rhone('secrets rotate registry', environment)
  assert.equal(missing.code, 2)
  assert.match(missing.stderr, /REGISTRY_TOKEN is issued elsewhere/)
  const unset = await rhone('secrets rotate fly --value-file /dev/null', environment)
  assert.match(unset.stderr, /FLY_API_TOKEN: is not set/)
  const file = join(environment.DATA_DIR!, 'token')
  await writeFile(file, 'second-registry-token\n')
  const rotated = await rhone(`secrets rotate registry --value-file ${file}`, environment)
  assert.equal(rotated.code, 0, rotated.stderr)
  assert.match(rotated.stdout, /REGISTRY_TOKEN: replaced, and in use by 1 of 1 running instances/)
  assert.equal(live.config.registry.token, 'second-registry-token')
})
