import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { availableParallelism, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { ConfigError, loadConfig, type Variables } from '../src/config/index.ts'
import { developmentKeyrings, generateKey, parseKeyring } from '../src/config/keyring.ts'
import { availableMemory } from '../src/config/server.ts'
import { warningsOf } from '../src/config/warnings.ts'

const PRODUCTION: Variables = {
  ENVIRONMENT: 'production',
  BASE_URL: 'https://rhone.example.com',
  DATABASE_URL: 'postgres://rhone:secret@db.internal/rhone?sslmode=verify-full',
  SESSION_KEYS: generateKey(),
  ENCRYPTION_KEYS: generateKey(),
  SIGNING_KEYS: generateKey()
}

function problemsOf(variables: Variables): readonly string[] {
  try {
    loadConfig(variables)
  } catch (error) {
    assert.ok(error instanceof ConfigError)
    return error.problems
  }
  return []
}

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'rhone-config-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

test('without any variable it is a development server on the loopback', () => {
  const config = loadConfig({})
  assert.equal(config.environment, 'development')
  assert.equal(config.production, false)
  assert.equal(config.host, '127.0.0.1')
  assert.equal(config.port, 8080)
  assert.equal(config.baseUrl.href, 'http://localhost:8080/')
  assert.equal(config.database.url, null)
  assert.deepEqual(config.rates.deploy, { ratePerSecond: 10 / 60, burst: 5 })
  assert.equal(config.drainGrace, 0)
})

test('every problem is reported at once, by the name of its variable', () => {
  const wrong: Variables = {
    PORT: 'eighty',
    LOG_LEVEL: 'loud',
    TRUST_PROXY: '10.0.0.0/40',
    CORS_ORIGINS: '*',
    RATE_LIMIT_AUTH: 'often',
    ENCRYPTION_KEYS: 'k1:c2hvcnQ=',
    DATABASE_URL: 'mysql://localhost/rhone',
    REDIS_URL: 'localhost',
    RHONE_WORKERS: '65',
    RHONE_SWAP: 'cors',
    TLS_CERT_FILE: '/somewhere'
  }
  const problems = problemsOf(wrong)
  for (const name of Object.keys(wrong))
    assert.ok(
      problems.some(problem => problem.startsWith(name)),
      name
    )
})

test('a number must be plain digits', () => {
  for (const number of ['1e3', 'true', 'false', '8080.9', '0x1F90', ' 80 ', '8080abc', '٣'])
    assert.match(problemsOf({ PORT: number }).join(), /^PORT: must be a whole number from 0 to 65535$/, number)
  assert.deepEqual(problemsOf({ DATABASE_POOL_MAX: '1e2' }), [
    'DATABASE_POOL_MAX: must be a whole number from 1 to 500'
  ])
  assert.match(problemsOf({ DRAIN_GRACE: '21' }).join(), /^DRAIN_GRACE: must be a whole number from 0 to 20$/)
  assert.equal(loadConfig({ PORT: '0', DATABASE_POOL_MAX: '500' }).port, 0)
})

test('nearly valid values are refused', () => {
  const almost: [Variables, RegExp][] = [
    [{ RHONE_SHORTCUTS_OFF: 'heads,speed' }, /^RHONE_SHORTCUTS_OFF: "speed" is not one of heads, .*imports/],
    [{ RHONE_SWAP: 'cors=off,cors=./mine.ts' }, /^RHONE_SWAP: "cors" is listed twice$/],
    [{ CORS_ORIGINS: 'https://*.example.com' }, /^CORS_ORIGINS: .*not an exact origin/],
    [{ BASE_URL: 'https://rhone:secret@rhone.example.com' }, /^BASE_URL: must not contain a user or password$/],
    [{ METRICS_TOKEN: 'two lines\nof a file' }, /^METRICS_TOKEN: must be printable ASCII/],
    [
      { DATABASE_DIRECT_URL: 'postgres://rhone@direct/rhone' },
      /^DATABASE_DIRECT_URL: .*DATABASE_URL, which is not set$/
    ]
  ]
  for (const [variables, complaint] of almost) assert.match(problemsOf(variables).join('; '), complaint)
  assert.deepEqual({ ...loadConfig({ RHONE_SWAP: 'cors=./a=b.ts' }).swaps }, { cors: './a=b.ts' })
})

test('production boots with the required settings, and listens on all interfaces', () => {
  const config = loadConfig(PRODUCTION)
  assert.equal(config.host, '0.0.0.0')
  assert.equal(config.drainGrace, 5)
})

test('production refuses unsafe settings', () => {
  const unsafe: [Variables, RegExp][] = [
    [{ DATABASE_URL: undefined }, /^DATABASE_URL: is required/],
    [{ SESSION_KEYS: undefined }, /^SESSION_KEYS: is required/],
    [{ ENCRYPTION_KEYS: `k1:${Buffer.alloc(32).toString('base64')}` }, /^ENCRYPTION_KEYS: .*placeholder/],
    [{ DATABASE_URL: 'postgres://rhone:secret@db.internal/rhone' }, /^DATABASE_URL: must verify/],
    [{ DATABASE_URL: 'postgres://rhone:secret@db.internal/rhone?sslmode=prefer' }, /^DATABASE_URL: must verify/],
    [{ DATABASE_URL: 'postgres://rhone:secret@db/rhone?sslmode=require' }, /^DATABASE_URL: .*sslmode=verify-full/],
    [{ BASE_URL: undefined }, /^BASE_URL: is required in production/],
    [{ BASE_URL: 'http://rhone.example.com' }, /^BASE_URL: must be https in production/],
    [{ BASE_URL: 'http://localhost:8080' }, /^BASE_URL: must be https in production/],
    [{ DATABASE_URL: 'postgres://rhone:changeme@db/rhone?sslmode=require' }, /^DATABASE_URL: is still a placeholder/],
    [{ DATABASE_URL: 'postgres://rhone:secret@db/rhone#?sslmode=verify-full' }, /^DATABASE_URL: must verify/],
    [
      { DATABASE_URL: 'postgres://rhone:secret@db/rhone?sslmode=verify-full&sslmode=disable' },
      /^DATABASE_URL: must verify/
    ],
    [{ DATABASE_DIRECT_URL: 'postgres://rhone:secret@db/rhone?sslmode=allow' }, /^DATABASE_DIRECT_URL: must verify/],
    [{ METRICS_TOKEN: 'your-metrics-token-here' }, /^METRICS_TOKEN: is still a placeholder/],
    [{ METRICS_TOKEN: 'aaaaaaaaaaaaaaaaaaaaaaaa' }, /^METRICS_TOKEN: is still a placeholder/],
    [{ METRICS_TOKEN: 'change-me' }, /^METRICS_TOKEN: is still a placeholder/],
    [{ METRICS_TOKEN: 'short' }, /^METRICS_TOKEN: must be at least 16/],
    [{ REDIS_URL: 'redis://cache.internal' }, /^REDIS_URL: a remote Redis needs a password/],
    [{ CORS_ORIGINS: 'http://console.example.com' }, /^CORS_ORIGINS: .*not an https origin/],
    [{ CORS_ORIGINS: 'https://localhost' }, /^CORS_ORIGINS: .*not an https origin/]
  ]
  for (const [variables, complaint] of unsafe) {
    const problems = problemsOf({ ...PRODUCTION, ...variables })
    assert.ok(
      problems.some(problem => complaint.test(problem)),
      `${complaint} in ${problems.join('; ')}`
    )
  }
  const safe: Variables[] = [
    { REDIS_URL: 'rediss://:secret@cache.internal' },
    { DATABASE_URL: 'postgres://rhone:secret@db.internal/rhone?sslrootcert=system' },
    { DATABASE_URL: 'postgres://rhone:secret@/rhone?host=/run/postgresql' }
  ]
  for (const variables of safe) assert.deepEqual(problemsOf({ ...PRODUCTION, ...variables }), [])
})

test('staging refuses what production refuses', () => {
  assert.deepEqual(problemsOf({ ...PRODUCTION, ENVIRONMENT: 'staging' }), [])
  const problems = problemsOf({ ...PRODUCTION, ENVIRONMENT: 'staging', BASE_URL: 'http://staging.example.com' })
  assert.deepEqual(problems, ['BASE_URL: must be https in staging'])
})

test('the memory limit is MEMORY_LIMIT, else the limit of the container, else the memory of the machine', () => {
  assert.equal(loadConfig({ MEMORY_LIMIT: '536870912' }).memoryLimit, 536_870_912)
  assert.equal(loadConfig({}).memoryLimit, availableMemory(process.constrainedMemory(), totalmem()))
  assert.ok(loadConfig({}).memoryLimit > 0)
  assert.equal(availableMemory(100, 1_000), 100)
  assert.equal(availableMemory(0, 1_000), 1_000)
  assert.equal(availableMemory(2 ** 63, 1_000), 1_000, 'how an older kernel says that there is no limit')
  assert.match(problemsOf({ MEMORY_LIMIT: '512m' }).join(), /^MEMORY_LIMIT: must be a whole number of at least 1$/)
})

test('a new team has every feature, unless plans are paid for by Stripe or DEFAULT_PLAN says otherwise', () => {
  const STRIPE_SECRET_KEY = 'a-key-of-stripe'
  assert.equal(loadConfig({}).defaultPlan, 'pro')
  assert.equal(loadConfig({ STRIPE_SECRET_KEY }).defaultPlan, 'free')
  assert.equal(loadConfig({ STRIPE_SECRET_KEY, DEFAULT_PLAN: 'starter' }).defaultPlan, 'starter')
})

test('all database URLs use the role of DATABASE_URL, unless they name an unrelated one', () => {
  const urlsWith = (DATABASE_URL: string, direct: string, replica: string) => {
    const { directUrl, replicaUrl } = loadConfig({
      DATABASE_URL,
      DATABASE_DIRECT_URL: direct,
      DATABASE_REPLICA_URL: replica
    }).database
    return [directUrl, replicaUrl]
  }
  const main = 'postgres://rhone_b:p%40ss@pool/rhone'
  assert.deepEqual(
    urlsWith(main, 'postgres://rhone:old@db/rhone', 'postgres://rhone_a:old@near/rhone?sslmode=require'),
    ['postgres://rhone_b:p%40ss@db/rhone', 'postgres://rhone_b:p%40ss@near/rhone?sslmode=require']
  )
  assert.deepEqual(urlsWith(main, 'postgres://db/rhone', 'postgres://near/rhone'), [
    'postgres://db/rhone',
    'postgres://rhone_b:p%40ss@near/rhone'
  ])
  const others = ['postgres://rhone_b:another@db/rhone', 'postgres://reader:secret@near/rhone'] as const
  assert.deepEqual(urlsWith(main, ...others), others)
  assert.equal(loadConfig({ DATABASE_URL: main }).database.directUrl, main)
})

test('usable but doubtful settings cause a warning that names the variable', () => {
  const warnings = (variables: Variables) => warningsOf(loadConfig(variables), variables)
  const complete = {
    ...PRODUCTION,
    GITHUB_CLIENT_ID: 'id',
    GITHUB_CLIENT_SECRET: 'a-secret',
    FLY_API_TOKEN: 'a-token',
    METRICS_TOKEN: 'sixteen-characters',
    TRUST_PROXY: 'fly',
    BACKUP_URL: 'file:///mnt/elsewhere',
    BACKUP_RECIPIENTS: 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p'
  }
  assert.deepEqual(warnings(complete), [])
  const doubtful: [Variables, RegExp][] = [
    [{ GITHUB_CLIENT_ID: undefined, GITHUB_CLIENT_SECRET: undefined }, /^GITHUB_CLIENT_ID, .*nobody can sign in/],
    [{ FLY_API_TOKEN: undefined }, /^DEPLOYER, .*cannot be deployed/],
    [{ METRICS_TOKEN: undefined }, /^METRICS_TOKEN: is not set/],
    [{ TRUST_PROXY: undefined }, /^TRUST_PROXY: is none/],
    [{ BACKUP_RECIPIENTS: undefined }, /^BACKUP_RECIPIENTS: is not set/],
    [{ BACKUP_URL: undefined }, /^BACKUP_URL: .* are lost with this machine/],
    [{ NOTIFY_EMAIL: 'ops@example.com' }, /^NOTIFY_EMAIL, SMTP_URL: without a mail server, nobody is notified by mail/],
    [{ REDISURL: 'redis://x' }, /^REDISURL: is not a setting; did you mean REDIS_URL\?/],
    [{ REDIS_URL_FIEL: '/x' }, /did you mean REDIS_URL_FILE\?/],
    [{ RHONE_WORKER: '2' }, /did you mean RHONE_WORKERS\?/],
    [{ RHONE_COLOUR: 'red' }, /^RHONE_COLOUR: is not a setting$/]
  ]
  for (const [variables, warning] of doubtful)
    assert.match(warnings({ ...complete, ...variables }).join('; '), warning, JSON.stringify(variables))
  const named = { LOCAL_ACCOUNTS: 'true', BASE_URL: 'http://rhone.localhost:8080' }
  assert.match(warnings(named).join(), /^BASE_URL: an app could take the host name rhone\.localhost/)
  assert.match(warnings({ DATABSE_URL: 'postgres://x', LOCAL_ACCOUNTS: 'true' }).join(), /did you mean DATABASE_URL\?/)
})

test('variables of other programs do not count as misspelt settings', () => {
  const others = ['PATH', 'HOME', 'HOSTNAME', 'USER', 'LANG', 'TERM', 'PWD', 'NODE_ENV', 'CI', 'EDITOR', 'DISPLAY']
  const fly = ['FLY_APP_NAME', 'FLY_REGION', 'FLY_MACHINE_ID', 'FLY_IMAGE_REF', 'FLY_PRIVATE_IP', 'FLY_PUBLIC_IP']
  const github = [
    'GITHUB_ACTIONS',
    'GITHUB_SHA',
    'GITHUB_REF',
    'GITHUB_TOKEN',
    'GITHUB_SERVER_URL',
    'GITHUB_REPOSITORY'
  ]
  const npm = ['npm_config_cache', 'npm_lifecycle_event', 'npm_package_version', 'INIT_CWD', 'COLOR']
  const variables = Object.fromEntries([...others, ...fly, ...github, ...npm].map(name => [name, 'x']))
  assert.deepEqual(warningsOf(loadConfig({ LOCAL_ACCOUNTS: 'true' }), { ...variables, LOCAL_ACCOUNTS: 'true' }), [])
})

test('.env is read in development, and one that cannot be read is a problem of the environment', async t => {
  const path = await directory(t)
  const read = (ENVIRONMENT: string) => {
    const script = `
      const { readEnvironment } = await import(${JSON.stringify(import.meta.resolve('../src/config/index.ts'))})
      try { console.log(readEnvironment().LOG_LEVEL) } catch (error) { console.log(error.name, error.problems.join()) }`
    const options = { cwd: path, env: { ENVIRONMENT }, encoding: 'utf8' } as const
    return execFileSync(process.execPath, ['--input-type=module', '--eval', script], options).trim()
  }
  await writeFile(join(path, '.env'), 'LOG_LEVEL=warn')
  assert.equal(read('development'), 'warn')
  assert.equal(read(''), 'warn', 'an empty variable counts as unset')
  assert.equal(read('production'), 'undefined')

  await rm(join(path, '.env'))
  await mkdir(join(path, '.env'))
  assert.match(read('development'), /^ConfigError \.env: cannot be read/)
})

test('workers are a number from 1 to 64, or as many as there are cores', { skip: process.platform !== 'linux' }, () => {
  assert.equal(loadConfig({}).workers, 1)
  assert.equal(loadConfig({ RHONE_WORKERS: '64' }).workers, 64)
  assert.equal(loadConfig({ RHONE_WORKERS: 'auto' }).workers, availableParallelism())
  for (const wrong of ['0', '1.5', '-1', 'all', '065'])
    assert.match(problemsOf({ RHONE_WORKERS: wrong }).join(), /^RHONE_WORKERS: /, wrong)
})

test('shortcuts are taken unless they are switched off, one by one', () => {
  assert.deepEqual([...loadConfig({}).shortcuts], ['heads', 'batching', 'sockets', 'queries', 'imports', 'bundle'])
  assert.deepEqual(
    [...loadConfig({ RHONE_SHORTCUTS_OFF: 'heads, queries' }).shortcuts],
    ['batching', 'sockets', 'imports', 'bundle']
  )
})

test('a problem never repeats the secret concerned', () => {
  const secret = Buffer.from('this is not thirty-two bytes').toString('base64')
  assert.ok(
    !problemsOf({ ...PRODUCTION, SIGNING_KEYS: `k1:${secret}` })
      .join()
      .includes(secret)
  )
})

test('a secret may come from a file, but not also from the environment', async t => {
  const file = join(await directory(t), 'token')
  await writeFile(file, 'a-token-from-a-file\n')
  assert.equal(loadConfig({ METRICS_TOKEN_FILE: file }).metricsTokens.join(), 'a-token-from-a-file')
  assert.match(problemsOf({ METRICS_TOKEN_FILE: file, METRICS_TOKEN: 'x' }).join(), /METRICS_TOKEN: is set twice/)
  assert.match(
    problemsOf({ METRICS_TOKEN_FILE: `${file}.none` }).join(),
    /METRICS_TOKEN_FILE: cannot be read \(ENOENT\)/
  )
})

test('the metrics token may be a list during rotation, and each entry needs a minimum length', () => {
  assert.deepEqual(loadConfig({ METRICS_TOKEN: 'one,two' }).metricsTokens, ['one', 'two'])
  const weak = problemsOf({ ...PRODUCTION, METRICS_TOKEN: 'a-token-of-much-entropy,short' })
  assert.match(weak.join(), /METRICS_TOKEN: must be at least 16 characters/)
})

test('a keyring lists the newest key first, and each key once', () => {
  const [older, newer] = [generateKey(new Date('2026-01-01')), generateKey(new Date('2026-06-01'))]
  const ring = parseKeyring(`${newer},${older}`)
  assert.match(ring.current.id, /^k20260601-[0-9a-f]{8}$/)
  assert.deepEqual(
    [...ring.keys.keys()].map(id => id.split('-')[0]),
    ['k20260601', 'k20260101']
  )
  assert.throws(() => parseKeyring(`${older},${older}`), /listed twice/)
})

test('development keys are created once, readable only by their owner, even if two servers start at once', async t => {
  const path = await directory(t)
  const [first, second] = await Promise.all([developmentKeyrings(path), developmentKeyrings(path)])
  assert.deepEqual(first, second)
  assert.deepEqual(await developmentKeyrings(path), first)
  const file = join(path, 'keys.json')
  assert.equal((await stat(file)).mode & 0o777, 0o600)

  await writeFile(file, (await readFile(file, 'utf8')).slice(0, 40))
  await assert.rejects(developmentKeyrings(path), /keys\.json is damaged/)
})
