import assert from 'node:assert/strict'
import { createHmac, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { eq, sql } from 'drizzle-orm'
import { auditLogs, secretHolders } from '../../drizzle/schema.ts'
import { startFakeFly } from '../fakes/fly/server.ts'
import { appKey, startFakeGithub } from '../fakes/github/server.ts'
import { TestBrowser } from '../support/browser.ts'
import { ownCluster } from '../support/cluster.ts'
import { freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/free-port.ts'
import { redisServer } from '../support/redis.ts'
import { keyOf, OLD, place, server } from '../support/secret-place.ts'

const NEW = keyOf('new')
const SECRET = 'a-webhook-secret'

test('a changed secret is in use without a restart, and recorded', async t => {
  const secrets = await place(t, { DATABASE_URL: await freshDatabase(t), METRICS_TOKEN: 'first-metrics-token' })
  const { app } = await server(t, secrets)
  const scrape = (token: string) =>
    app.inject({ url: '/metrics', headers: { authorization: `Bearer ${token}` } }).then(({ statusCode }) => statusCode)
  assert.deepEqual([await scrape('first-metrics-token'), await scrape('second-metrics-token')], [200, 401])
  await secrets.write({ METRICS_TOKEN: 'second-metrics-token,first-metrics-token' })
  await eventually(
    () => scrape('second-metrics-token'),
    status => status === 200
  )
  assert.equal(await scrape('first-metrics-token'), 200)
  const row = await eventually(async () => {
    const [found] = await app.db.select().from(auditLogs).where(eq(auditLogs.resourceName, 'METRICS_TOKEN'))
    return found
  })
  assert.deepEqual([row?.resource, row?.action, row?.actor], ['secret', 'rotate', 'secret source'])
})

test('a webhook is verified with the current secrets', async t => {
  const secrets = await place(t, { DATABASE_URL: await freshDatabase(t), GITHUB_WEBHOOK_SECRET: SECRET })
  const { app } = await server(t, secrets)
  const body = JSON.stringify({ zen: 'x' })
  const deliver = (secret: string) =>
    app
      .inject({
        method: 'POST',
        url: '/webhooks/github',
        headers: {
          'content-type': 'application/json',
          'x-github-event': 'ping',
          'x-github-delivery': randomBytes(8).toString('hex'),
          'x-hub-signature-256': `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`
        },
        payload: body
      })
      .then(({ statusCode }) => statusCode)
  assert.deepEqual([await deliver(SECRET), await deliver('next')], [202, 401])
  await secrets.write({ GITHUB_WEBHOOK_SECRET: `next,${SECRET}` })
  await app.secrets.refresh()
  assert.deepEqual([await deliver(SECRET), await deliver('next')], [202, 202])
})

test('GitHub and Fly are called with the current credentials', async t => {
  const [github, fly] = [await startFakeGithub(), await startFakeFly({ token: 'fm2_second' })]
  t.after(() => Promise.all([github.close(), fly.close()]))
  const port = await freePort()
  const base = `http://127.0.0.1:${port}`
  github.redirectUris.push(`${base}/auth/callback`)
  const secrets = await place(t, {
    DATABASE_URL: await freshDatabase(t),
    GITHUB_CLIENT_SECRET: github.clientSecret,
    GITHUB_APP_PRIVATE_KEY: github.app.privateKey,
    FLY_API_TOKEN: 'fm2_first'
  })
  const { app } = await server(t, secrets, {
    BASE_URL: base,
    GITHUB_CLIENT_ID: github.clientId,
    GITHUB_APP_ID: String(github.app.id),
    GITHUB_APP_SLUG: github.app.slug,
    GITHUB_URL: github.url,
    GITHUB_API_URL: github.url,
    DEPLOYER: 'fly',
    FLY_ORG: fly.organization,
    FLY_API_URL: fly.url,
    FLY_GRAPHQL_URL: `${fly.url}/graphql`
  })
  await app.listen({ host: '127.0.0.1', port })
  const signIn = async () => (await new TestBrowser().open(`${base}/auth/github`)).url === `${base}/dashboard`
  const asApp = () =>
    app.github!.ping().then(
      () => true,
      () => false
    )
  const atFly = () =>
    app.deployer!.running(t.signal).then(
      () => true,
      () => false
    )
  assert.deepEqual([await signIn(), await asApp(), await atFly()], [true, true, false])

  // What was valid until now is revoked on the other side.
  const { privateKey, publicKey } = appKey()
  github.clientSecrets = ['a-second-client-secret']
  github.app.publicKeys = [publicKey]
  assert.deepEqual([await signIn(), await asApp(), await atFly()], [false, false, false])
  await secrets.write({
    GITHUB_CLIENT_SECRET: 'a-second-client-secret',
    GITHUB_APP_PRIVATE_KEY: privateKey,
    FLY_API_TOKEN: 'fm2_second'
  })
  await app.secrets.refresh()
  assert.deepEqual([await signIn(), await asApp(), await atFly()], [true, true, true])
})

test('a new key decrypts immediately, and signs once every running instance has it', async t => {
  const url = await freshDatabase(t)
  const [one, other] = [await place(t, { DATABASE_URL: url }), await place(t, { DATABASE_URL: url })]
  const first = await server(t, one)
  const second = await server(t, other)
  const signing = ({ live }: typeof first) => live.config.keys.signing!
  await one.write({ SIGNING_KEYS: `${NEW},${OLD}` })
  await first.app.secrets.refresh()
  assert.deepEqual([signing(first).current.id, [...signing(first).keys.keys()]], ['old', ['new', 'old']])

  await other.write({ SIGNING_KEYS: `${NEW},${OLD}` })
  await second.app.secrets.refresh()
  await eventually(
    () => [first, second].map(instance => signing(instance).current.id).join(),
    ids => ids === 'new,new'
  )
  const keys = (await first.app.inject('/.well-known/jwks.json')).json().keys.map(({ kid }: { kid: string }) => kid)
  assert.deepEqual(keys, ['new', 'old'])
})

test('a silent instance is waited for, a stopped one is not', async t => {
  const url = await freshDatabase(t)
  const secrets = await place(t, { DATABASE_URL: url })
  const { app, live } = await server(t, secrets)
  const ids = () => live.config.keys.session!.current.id
  const [row] = await app.db.select().from(secretHolders)
  await app.db.insert(secretHolders).values({ ...row!, instance: '00000000-0000-4000-8000-000000000000' })
  await secrets.write({ SESSION_KEYS: `${NEW},${OLD}` })
  await app.secrets.refresh()
  assert.equal(ids(), 'old')
  await app.db
    .update(secretHolders)
    .set({ seenAt: sql`now() - interval '61 s'` })
    .where(eq(secretHolders.instance, '00000000-0000-4000-8000-000000000000'))
  await app.secretHolders.exchange()
  assert.equal(ids(), 'new')
})

test('unusable secrets are refused as a set, by name, and recorded once', async t => {
  const url = await freshDatabase(t)
  const secrets = await place(t, { DATABASE_URL: url, METRICS_TOKEN: 'first-metrics-token' })
  const { app, live } = await server(t, secrets)
  const refusals = () => app.db.select().from(auditLogs).where(eq(auditLogs.action, 'refuse'))
  const cases: Record<string, string>[] = [
    { SIGNING_KEYS: NEW },
    { SIGNING_KEYS: `${keyOf('old')},${NEW}` },
    { SESSION_KEYS: 'no key' },
    { DATABASE_URL: url.replace(/\/\/[^@]*@/, '//nobody:wrong@') },
    { DATABASE_URL: `${url}x` }
  ]
  for (const [index, wrong] of cases.entries()) {
    // Files are written one by one, and each may be read immediately, so no intermediate state may be valid and new.
    await secrets.write({ ...wrong, METRICS_TOKEN: 'second-metrics-token' })
    await app.secrets.refresh()
    await app.secrets.refresh()
    assert.deepEqual(live.config.metricsTokens, ['first-metrics-token'], JSON.stringify(wrong))
    const rows = await refusals()
    const namesOf = (wrong: object) => ['METRICS_TOKEN', ...Object.keys(wrong)].sort().join(', ')
    const names = namesOf(wrong)
    const alike = cases.slice(0, index + 1).filter(other => namesOf(other) === names)
    assert.equal(rows.filter(row => row.resourceName === names).length, alike.length, names)
    assert.equal(rows[0]?.outcome, 'failure')
    await secrets.write({
      METRICS_TOKEN: 'first-metrics-token',
      SIGNING_KEYS: OLD,
      SESSION_KEYS: OLD,
      DATABASE_URL: url
    })
  }
})

test('the pool, LISTEN, the ping and the leader switch to another role without a failed query', async t => {
  const cluster = await ownCluster(t)
  await cluster.asSuperuser(async superuser => {
    await superuser`create role one superuser login password 'first'`
    await superuser`create role two superuser login password 'second'`
    await superuser`create database rhone owner one`
  })
  const secrets = await place(t, { DATABASE_URL: cluster.urlFor('rhone', 'one', 'first') })
  const { app } = await server(t, secrets)
  const sessions = () =>
    cluster.asSuperuser(async superuser => {
      const rows = await superuser`select usename, application_name from pg_stat_activity where datname = 'rhone'`
      return rows.map(({ usename, application_name: name }) => `${usename} ${name}`)
    })
  await eventually(sessions, names => names.includes('one rhone-log-collector'))
  const over = new AbortController()
  t.after(() => over.abort())
  let failures = 0
  const load = Array.from({ length: 4 }, async () => {
    while (!over.signal.aborted) await app.db.execute(sql`select pg_sleep(0.002)`).catch(() => failures++)
  })
  await secrets.write({ DATABASE_URL: cluster.urlFor('rhone', 'two', 'second') })
  await app.secrets.refresh()
  await eventually(
    sessions,
    names => !names.some(name => name.startsWith('one')) && names.includes('two rhone-log-collector')
  )
  over.abort()
  await Promise.all(load)
  assert.equal(failures, 0)
  assert.equal(await app.postgres.ping(1_000), 'writable')
})

test('open and later Redis connections authenticate with the new password', async t => {
  const redis = await redisServer(t, ['--requirepass', 'old-password'])
  if (redis === undefined) return
  const urlWith = (password: string) => `redis://:${password}@127.0.0.1:${redis.port}`
  const secrets = await place(t, { DATABASE_URL: await freshDatabase(t), REDIS_URL: urlWith('old-password') })
  const { app } = await server(t, secrets)
  await eventually(() => app.redis.status === 'ready')
  await app.redis.call('ACL', 'SETUSER', 'default', '>new-password')
  await secrets.write({ REDIS_URL: urlWith('new-password') })
  await app.secrets.refresh()
  await app.redis.call('ACL', 'SETUSER', 'default', '<old-password')
  assert.equal(await app.redis.ping(), 'PONG')
  await app.redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'no').catch(() => {})
  await eventually(
    () => app.redis.ping().catch(() => ''),
    pong => pong === 'PONG'
  )

  await secrets.write({ REDIS_URL: urlWith('wrong-password') })
  await app.secrets.refresh()
  assert.equal(await app.redis.ping(), 'PONG')
  await secrets.write({ REDIS_URL: `redis://:new-password@127.0.0.1:${redis.port + 1}` })
  await app.secrets.refresh()
  assert.equal(await app.redis.ping(), 'PONG')
})

test('metrics show the age and schedule of every configured secret', async t => {
  const secrets = await place(t, { DATABASE_URL: await freshDatabase(t), METRICS_TOKEN: 'first-metrics-token' })
  const { app } = await server(t, secrets)
  const { body } = await app.inject({ url: '/metrics', headers: { authorization: 'Bearer first-metrics-token' } })
  assert.match(body, /^rhone_secret_age_seconds\{name="METRICS_TOKEN"\} \d/m)
  assert.match(body, /^rhone_secret_schedule_seconds\{name="ENCRYPTION_KEYS"\} 31536000$/m)
  assert.doesNotMatch(body, /^rhone_secret_age_seconds\{name="FLY_API_TOKEN"\}/m)
})
