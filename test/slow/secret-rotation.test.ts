import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { eq, sql } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import { auditLogs } from '../../drizzle/schema.ts'
import { main } from '../../src/cli/main.ts'
import { classNames, classOf } from '../../src/cli/rotation/classes.ts'
import type { Config, Variables } from '../../src/config/index.ts'
import { startFakeFly } from '../fakes/fly/server.ts'
import { addInstallation, appKey, fakeRepository, startFakeGithub } from '../fakes/github/server.ts'
import { directoryFor } from '../support/backups.ts'
import { type OwnCluster, ownCluster } from '../support/cluster.ts'
import { eventually } from '../support/eventually.ts'
import { ping, signed } from '../support/github-deliveries.ts'
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

/** Limits that this test does not reach. */
const LOOSE = Object.fromEntries(
  ['AUTH', 'GENERAL', 'STRICT', 'USER'].map(name => [`RATE_LIMIT_${name}`, '1000/s:1000'])
)

/** The ids of the keys that an instance seals and signs with. */
const usedKeys = ({ keys: { signing, session, encryption } }: Config) =>
  [signing, session, encryption].map(ring => ring!.current.id).join()

/** The initial secrets of servers, except those of other services. */
function firstSecrets(cluster: OwnCluster, redis: { readonly port: number } | undefined): Record<string, string> {
  return {
    DATABASE_URL: cluster.urlFor('rhone', 'rhone', 'first'),
    METRICS_TOKEN: 'first-metrics-token',
    GITHUB_WEBHOOK_SECRET: WEBHOOK_SECRET,
    ...(redis && { REDIS_URL: `redis://:first-password@127.0.0.1:${redis.port}` })
  }
}

const WEBHOOK_SECRET = 'first-webhook-secret'
const INSTALLATION = 7

/** GitHub and Fly, which accept a second credential of each kind besides the first, until the first is revoked. */
async function services(t: TestContext) {
  const [github, fly] = [await startFakeGithub(), await startFakeFly({ token: 'fm2_first' })]
  t.after(() => Promise.all([github.close(), fly.close()]))
  const baseUrl = 'http://127.0.0.1:9'
  github.redirectUris.push(`${baseUrl}/auth/callback`)
  github.rateLimit.remaining = 1_000_000
  const account = { login: 'acme', id: 11, type: 'Organization' } as const
  addInstallation(github, INSTALLATION, account, [fakeRepository(1, 'acme/site')])
  const key = appKey()
  return {
    github,
    fly,
    settings: {
      BASE_URL: baseUrl,
      GITHUB_CLIENT_ID: github.clientId,
      GITHUB_APP_ID: String(github.app.id),
      GITHUB_APP_SLUG: github.app.slug,
      GITHUB_URL: github.url,
      GITHUB_API_URL: github.url,
      DEPLOYER: 'fly',
      FLY_ORG: fly.organization,
      FLY_API_URL: fly.url,
      FLY_GRAPHQL_URL: `${fly.url}/graphql`
    },
    secrets: {
      GITHUB_CLIENT_SECRET: github.clientSecret,
      GITHUB_APP_PRIVATE_KEY: github.app.privateKey,
      FLY_API_TOKEN: fly.token,
      REGISTRY_TOKEN: 'first-registry-token',
      STRIPE_SECRET_KEY: 'a-first-key-of-stripe'
    },
    /** The second credentials, by class. */
    second: {
      'github-client': 'a-second-client-secret',
      'github-app': key.privateKey,
      fly: 'fm2_second',
      registry: 'second-registry-token',
      stripe: 'a-second-key-of-stripe'
    },
    issue() {
      github.clientSecrets.push('a-second-client-secret')
      github.app.publicKeys.push(key.publicKey)
      fly.tokens.add('fm2_second')
    },
    revokeFirst() {
      github.clientSecrets.shift()
      github.app.publicKeys.shift()
      fly.tokens.delete(fly.token)
    }
  }
}

/** Every class, with its variable and the options of `secrets rotate` that give it a second secret. */
async function rotations(t: TestContext, second: Readonly<Record<string, string>>, hasRedis: boolean) {
  const directory = await directoryFor(t)
  const names = classNames().filter(name => name !== 'redis' || hasRedis)
  return Promise.all(
    names.map(async name => {
      const { variable } = classOf(name)!
      if (second[name] === undefined) return { name, variable, options: '' }
      const file = join(directory, name)
      await writeFile(file, second[name])
      return { name, variable, options: ` --value-file ${file}` }
    })
  )
}

/** Signs in with GitHub on this instance, regardless of the address to which GitHub redirects. */
async function signIn(app: FastifyInstance): Promise<void> {
  const begun = await app.inject('/auth/github')
  const consent = await fetch(begun.headers.location!, { redirect: 'manual' })
  const { pathname, search } = new URL(consent.headers.get('location')!)
  const cookies = Object.fromEntries(begun.cookies.map(({ name, value }) => [name, value]))
  const { headers } = await app.inject({ url: pathname + search, cookies })
  assert.equal(headers.location, '/dashboard')
}

/** Everything that an instance does with credentials of GitHub and Fly; fails if one is refused. */
async function callServices(app: FastifyInstance, webhookSecret: string): Promise<void> {
  await app.deployer!.running(new AbortController().signal)
  await app.github!.ping()
  // So that it needs a new installation token, which is obtained with the App's key.
  app.github!.forget(INSTALLATION)
  assert.equal((await app.github!.repository(INSTALLATION, 'acme/site'))?.id, 1)
  await signIn(app)
  const { headers, payload } = signed('ping', ping(), { secret: webhookSecret })
  const delivered = await app.inject({ method: 'POST', url: '/webhooks/github', headers, payload })
  assert.equal(delivered.statusCode, 202, delivered.body)
}

/** Milliseconds of a pause in which nothing may be signed with a new key, and of pauses for other classes. */
const [PAUSE, SHORT_PAUSE] = [20_000, 500]

test('every class is rotated while two servers run, without a failed request, and is recorded', async t => {
  const cluster = await ownCluster(t)
  await cluster.asSuperuser(async superuser => {
    await superuser`create role rhone login password 'first'`
    await superuser`create database rhone owner rhone`
  })
  const redis = await redisServer(t, ['--requirepass', 'first-password'])
  const { fly, ...others } = await services(t)
  const secrets = await place(t, { ...firstSecrets(cluster, redis), ...others.secrets })
  const variables = { ...LOOSE, ...others.settings }
  const instances = [await server(t, secrets, variables), await server(t, secrets, variables)]
  const { environment } = instances[0]!
  const env = { ...environment, DATABASE_ADMIN_URL_FILE: undefined }
  await secrets.write({ DATABASE_ADMIN_URL: cluster.urlFor('rhone') })
  const token = (await readFile(join(environment.DATA_DIR!, 'operator-token'), 'utf8')).trim()

  const over = new AbortController()
  t.after(() => over.abort())
  const failures: string[] = []
  let answered = 0
  let last = ''
  let webhookSecret = WEBHOOK_SECRET
  const rounds = instances.map(() => 0)
  /** Waits until all calls under way are answered and each was made once more. */
  async function twoRounds() {
    const until = rounds.map(round => round + 2)
    await eventually(() => rounds.every((round, index) => round >= until[index]!))
  }
  const load = instances.map(async ({ app }, index) => {
    for (; !over.signal.aborted; rounds[index]!++) {
      await callServices(app, webhookSecret).catch(error => failures.push(`services: ${error.stack}`))
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
      // Each must accept what the other signs.
      for (const other of accessToken === undefined ? [] : instances) {
        const reply = await other.app.inject({ url: '/api/v1/me', headers: { authorization: `Bearer ${accessToken}` } })
        if (reply.statusCode !== 200) failures.push(`read: ${reply.statusCode} ${reply.body}`)
        else answered++
      }
    }
  })
  await eventually(() => answered > 5, Boolean, 15_000).catch(error => assert.fail(`${last} ${error}`))

  const before = new Map(instances[0]!.live.config.secrets)
  const classes = await rotations(t, others.second, redis !== undefined)
  others.issue()
  for (const { name, options } of classes) {
    const { code, stderr } = await rhone(`secrets rotate ${name} --wait 20${options}`, env)
    assert.equal(code, 0, `${name}: ${stderr}`)
  }
  assert.deepEqual(failures, [])
  const { config } = instances[1]!.live
  for (const { variable: name } of classes) assert.notEqual(config.secrets.get(name), before.get(name), name)

  await twoRounds()
  others.revokeFirst()
  webhookSecret = config.githubWebhookSecrets[0]!
  await twoRounds()
  const hook = await rhone('secrets rotate github-webhook --finish', env)
  assert.equal(hook.code, 0, hook.stderr)
  const earlier = fly.calls.length
  await twoRounds()
  over.abort()
  await Promise.all(load)
  assert.deepEqual(failures, [])
  assert.deepEqual(new Set(fly.calls.slice(earlier).map(call => call.authorization)), new Set(['FlyV1 fm2_second']))
  for (const { app } of instances) await assert.rejects(callServices(app, WEBHOOK_SECRET), { actual: 401 })

  await eventually(() => config.keys.signing!.current.id !== 'old')
  assert.match(config.database.url!, /rhone_a:/)
  const { app } = instances[1]!
  const [login] = await app.db.execute(sql`select rolcanlogin from pg_roles where rolname = 'rhone'`)
  assert.deepEqual({ ...login }, { rolcanlogin: false })
  const rows = await app.db.select().from(auditLogs).where(eq(auditLogs.resource, 'secret'))
  const names = new Set(rows.filter(({ action }) => action === 'rotate').map(({ resourceName }) => resourceName))
  for (const { variable: name } of classes) assert.ok(names.has(name), name)

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
  const { fly: _, ...others } = await services(t)
  const secrets = await place(t, { ...firstSecrets(cluster, redis), ...others.secrets })
  const { app, live, environment } = await server(t, secrets, { ...LOOSE, ...others.settings })
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
      await callServices(app, WEBHOOK_SECRET).catch(error => failures.push(`services: ${error.stack}`))
      const issued = await app.inject({
        method: 'POST',
        url: '/api/v1/auth/token',
        headers: { authorization: `Bearer ${token}` },
        payload: {}
      })
      if (issued.statusCode !== 201) failures.push(`issued: ${issued.statusCode} ${issued.body}`)
      const headers = { authorization: `Bearer ${issued.json().accessToken}` }
      // Requests during a pause wait, and see the keys from before it.
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

  others.issue()
  for (const { name, variable, options } of await rotations(t, others.second, redis !== undefined)) {
    const before = live.config.secrets.get(variable)
    const usedBefore = usedKeys(live.config)
    paused.child.kill('SIGSTOP')
    const rotation = rhone(`secrets rotate ${name} --wait 60${options}`, environment)
    // It ends only once the paused instance has the secret, too.
    const early = rotation.then(({ stderr }) => assert.fail(`${name}: ${stderr}`))
    await Promise.race([early, eventually(() => live.config.secrets.get(variable) !== before)])
    await stays(() => usedKeys(live.config) === usedBefore, name === 'signing' ? PAUSE : SHORT_PAUSE)
    paused.child.kill('SIGCONT')
    const { code, stderr } = await rotation
    assert.equal(code, 0, `${name}: ${stderr}`)
  }
  await eventually(() => !usedKeys(live.config).includes('old'))
  await load.stop()
  others.revokeFirst()
  await callServices(app, WEBHOOK_SECRET)
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
