import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, describe, it, type TestContext } from 'node:test'
import postgres from 'postgres'
import { helpOf } from '../../src/cli/help.ts'
import { commands } from '../../src/cli/index.ts'
import { main } from '../../src/cli/main.ts'
import { loadConfig, type Variables } from '../../src/config/index.ts'
import { generateKey } from '../../src/config/keyring.ts'
import { testApp } from '../support/app.ts'
import { emptyDatabase, freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'

interface Result {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** One command line with its own environment. */
async function rhone(command: string | readonly string[], variables: Variables = {}): Promise<Result> {
  const written = { stdout: '', stderr: '' }
  const code = await main(typeof command === 'string' ? command.split(' ') : command, {
    stdout(text) {
      written.stdout += text
    },
    stderr: text => (written.stderr += text),
    environment: () => variables
  })
  return { code, ...written }
}

async function succeed(command: string | readonly string[], variables?: Variables): Promise<Result> {
  const result = await rhone(command, variables)
  assert.equal(result.code, 0, result.stderr)
  return result
}

/** The shipped server on a real port, and the environment of a remote operator. */
async function runningServer(t: TestContext, variables: Variables = {}) {
  const server = await testApp(t, variables)
  const url = await server.app.listen({ host: '127.0.0.1', port: 0 })
  return { ...server, env: { RHONE_URL: url, RHONE_TOKEN: server.token } satisfies Variables }
}

const PRODUCTION: Variables = {
  ENVIRONMENT: 'production',
  BASE_URL: 'https://rhone.example.com',
  DATABASE_URL: 'postgres://rhone:hidden-1@db.example.com/rhone?sslmode=verify-full',
  DATABASE_DIRECT_URL: 'postgres://hidden-2:hidden-3@direct.example.com/rhone?sslmode=verify-full&options=hidden-4',
  REDIS_URL: 'rediss://:hidden-5@redis.example.com:6379',
  METRICS_TOKEN: 'hidden-6-and-long-enough',
  SESSION_KEYS: generateKey(),
  ENCRYPTION_KEYS: generateKey(),
  SIGNING_KEYS: generateKey(),
  RHONE_URL: 'https://hidden-7:hidden-8@rhone.example.com',
  RHONE_TOKEN: 'hidden-9'
}

// All tests together exceed the default rate limits.
const { as, env } = await runningServer({ after } as unknown as TestContext, { RATE_LIMIT_STRICT: '100/s:100' })

describe('the command line', () => {
  it('lists every command, and describes each with all of its options', async () => {
    const { stdout } = await succeed('help')
    for (const command of commands) {
      assert.match(stdout, new RegExp(`^ {2}${command.name} +\\w`, 'm'))
      const help = (await succeed(`${command.name} --help`)).stdout
      assert.match(help, new RegExp(`for example:\\n {2}rhone ${command.name}`))
      for (const option of ['url', 'token', ...Object.keys(command.options ?? {})])
        assert.match(help, new RegExp(`--${option}\\b`))
    }
    assert.deepEqual(await succeed('help token'), await succeed('token --help'))
  })

  it('exits with 2 on wrong usage, and prints the reason and the usage to stderr only', async () => {
    const wrong = {
      nonsense: 'unknown command "nonsense"',
      token: 'unknown command "token"',
      'token create': '<name> is missing',
      'token create a b': '"b" is an unexpected argument',
      'serve --fast': 'unknown option --fast',
      'tokn list': 'did you mean "token list"?',
      smoek: 'did you mean "smoke"?',
      'token create x --scop read': 'unknown option --scop; did you mean --scope?',
      'maintenance on --until': '--until needs a value',
      'migrate --json=yes': '--json takes no value',
      'maintenance on --until yesterday': '"yesterday" is not a time',
      'maintenance on --until 2001-01-01': '"2001-01-01" is in the past',
      'maintenance on --retry-after soon': '"soon" is not a number of seconds'
    }
    for (const [command, reason] of Object.entries(wrong)) {
      const { code, stdout, stderr } = await rhone(command)
      assert.equal(code, 2, command)
      assert.ok(stderr.includes(reason), stderr)
      assert.match(stderr, /usage: rhone/)
      assert.equal(stdout, '')
    }
  })

  it('lists the commands in the order of the help, with unique names', () => {
    const names = commands.map(({ name }) => name)
    assert.deepEqual([...new Set(names)], names)
    for (const command of commands) assert.match(helpOf(command), /\.\n/, `${command.name} has no sentence`)
  })

  it('prints only data to stdout', async () => {
    const child = execFile(process.execPath, [
      join(import.meta.dirname, '../../src/cli.ts'),
      'secrets',
      'generate',
      '--json'
    ])
    const chunks: string[] = []
    child.stdout?.on('data', chunk => chunks.push(chunk))
    const [code] = await once(child, 'close')
    assert.equal(code, 0)
    assert.equal(Object.keys(JSON.parse(chunks.join(''))).length, 5)
  })
})

describe('its process', () => {
  it('exits successfully if the reader of its output closes early', async () => {
    const child = spawn(process.execPath, [join(import.meta.dirname, '../../src/cli.ts'), 'openapi'])
    child.stdout.destroy()
    let stderr = ''
    child.stderr.on('data', chunk => (stderr += chunk))
    const [code] = await once(child, 'close')
    assert.equal(code, 0, stderr)
    assert.equal(stderr, '')
  })
})

describe('config', () => {
  it('check lists all problems at once and exits with 78', async () => {
    const { code, stdout, stderr } = await rhone('config check', {
      PORT: 'http',
      TRUST_PROXY: 'everybody',
      RATE_LIMIT_AUTH: 'often',
      ENVIRONMENT: 'production'
    })
    assert.equal(code, 78)
    assert.equal(stdout, '')
    for (const name of ['PORT', 'TRUST_PROXY', 'RATE_LIMIT_AUTH', 'DATABASE_URL', 'SESSION_KEYS', 'ENCRYPTION_KEYS'])
      assert.match(stderr, new RegExp(`^ {2}${name}: `, 'm'))
  })

  it('check accepts a complete environment', async () => {
    const { stderr } = await succeed('config check', PRODUCTION)
    assert.match(stderr, /valid for production/)
  })

  it('check warns about doubtful settings, which remain usable', async () => {
    const { stderr, stdout } = await succeed('config check --json', { ...PRODUCTION, RHONE_URL: '', DATABSE_URI: 'x' })
    assert.match(stderr, /^warning: GITHUB_CLIENT_ID, LOCAL_ACCOUNTS: nobody can sign in/m)
    assert.equal(JSON.parse(stdout).environment, 'production')
    assert.match(JSON.parse(stdout).warnings.join(), /DATABSE_URI: is not a setting; did you mean DATABASE_URL\?/)
  })

  it('check refuses a swap of an unknown plugin', async () => {
    const { code, stderr } = await rhone('config check', { RHONE_SWAP: 'rate-limits=off' })
    assert.equal(code, 78)
    assert.match(stderr, /there is no slot "rate-limits"/)
  })

  it('print shows all settings but no secrets', async () => {
    const keys = [PRODUCTION.SESSION_KEYS, PRODUCTION.ENCRYPTION_KEYS, PRODUCTION.SIGNING_KEYS].map(key =>
      String(key).slice(String(key).indexOf(':') + 1)
    )
    for (const command of ['config print', 'config print --json']) {
      const { stdout } = await succeed(command, PRODUCTION)
      assert.doesNotMatch(stdout, /hidden/)
      for (const key of keys) assert.ok(!stdout.includes(key))
      for (const seen of ['production', 'db.example.com', 'redis.example.com', 'poolMax'])
        assert.ok(stdout.includes(seen))
    }
    const { stdout } = await succeed('config print --json', PRODUCTION)
    assert.deepEqual(Object.keys(JSON.parse(stdout)), Object.keys(loadConfig(PRODUCTION)))
  })

  it('print reports an invalid configuration', async () => {
    assert.equal((await rhone('config print', { PORT: '-1' })).code, 78)
  })
})

describe('secrets generate', () => {
  it('prints keys that production accepts unchanged', async () => {
    const { stdout } = await succeed('secrets generate')
    const printed = Object.fromEntries(
      stdout
        .trim()
        .split('\n')
        .filter(line => !line.startsWith('#'))
        .map(line => line.split(/=(.*)/s, 2))
    )
    assert.deepEqual(Object.keys(printed), [
      'SESSION_KEYS',
      'ENCRYPTION_KEYS',
      'SIGNING_KEYS',
      'METRICS_TOKEN',
      'GITHUB_WEBHOOK_SECRET'
    ])
    const { ENVIRONMENT, BASE_URL, DATABASE_URL } = PRODUCTION
    const config = loadConfig({ ...printed, ENVIRONMENT, BASE_URL, DATABASE_URL })
    assert.equal(config.keys.session?.current.key.length, 32)
  })

  it('prints different ones each time', async () => {
    assert.notEqual((await succeed('secrets generate')).stdout, (await succeed('secrets generate')).stdout)
  })
})

describe('with a server', () => {
  it('user list shows all users to operators, and --url and --token override the environment', async t => {
    const { env } = await runningServer(t)
    const nowhere = { RHONE_URL: 'http://127.0.0.1:2', RHONE_TOKEN: 'none' }
    const command = `user list --json --url ${env.RHONE_URL} --token ${env.RHONE_TOKEN}`
    const users = JSON.parse((await succeed(command, nowhere)).stdout)
    assert.deepEqual(
      users.map(({ username, isOperator }: { username: string; isOperator: boolean }) => [username, isOperator]),
      [['operator', true]]
    )
    assert.match((await succeed('user list', env)).stdout, /^ID .*NAME/)
  })
})

describe('without a server', () => {
  const nowhere = { RHONE_URL: 'http://127.0.0.1:2', RHONE_TOKEN: 'none' }

  it('reports in a sentence that the server cannot be reached', async () => {
    const { code, stderr } = await rhone('token list', nowhere)
    assert.equal(code, 1)
    assert.match(
      stderr,
      /^rhone: the server at http:\/\/127\.0\.0\.1:2 cannot be reached: connection refused\. Start it \(npm start\).*\n$/
    )
  })

  it('points to --direct when maintenance cannot be reached', async () => {
    const { code, stderr } = await rhone('maintenance on', nowhere)
    assert.equal(code, 1)
    assert.match(stderr, /cannot be reached.*--direct/s)
  })

  it('names the token file that it looked for', async () => {
    const { code, stderr } = await rhone('token list', { DATA_DIR: '/nonexistent' })
    assert.equal(code, 1)
    assert.match(stderr, /set RHONE_TOKEN \(\/nonexistent\/operator-token cannot be read: ENOENT\)/)
  })

  it('follows no redirect, which would take the token elsewhere', async t => {
    const seen: (string | undefined)[] = []
    const server = createServer((request, reply) => {
      seen.push(request.url)
      reply.writeHead(308, { location: '/elsewhere' }).end()
    }).listen(0, '127.0.0.1')
    t.after(() => server.close())
    await once(server, 'listening')
    const RHONE_URL = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

    const { code, stderr } = await rhone('token list', { RHONE_URL, RHONE_TOKEN: 'secret' })
    assert.equal(code, 1)
    assert.match(stderr, /redirects \(308\) to \/elsewhere/)
    assert.deepEqual(seen, ['/api/v1/me/tokens?limit=200'])
  })

  it('fails every smoke check, with a reason for each', async () => {
    const { code, stdout } = await rhone('smoke --json', nowhere)
    const { ok, checks } = JSON.parse(stdout)
    assert.equal(code, 1)
    assert.equal(ok, false)
    for (const check of checks) assert.match(check.problem, /cannot be reached/)
  })
})

describe('with a running server', () => {
  it('creates, lists and revokes tokens', async () => {
    const created = await succeed('token create ci --scope read --scope deploy --expires 30d', env)
    const token = created.stdout.trim()
    assert.match(token, /^rhone_\w+$/)
    assert.ok(!created.stderr.includes(token))

    const { stdout } = await succeed('token list --json', { ...env, RHONE_TOKEN: token })
    const listed = JSON.parse(stdout).find(({ name }: { name: string }) => name === 'ci')
    assert.deepEqual(listed.scopes, ['read', 'deploy'])
    assert.ok(Date.parse(listed.expiresAt) > Date.now() + 29 * 86_400_000)
    assert.match((await succeed('token list', env)).stdout, new RegExp(`^${listed.id} +ci +rhone_`, 'm'))

    await succeed(`token revoke ${listed.id}`, env)
    assert.ok(!(await succeed('token list', env)).stdout.includes(listed.id))
  })

  it('changes the plan of a team', async () => {
    assert.match((await succeed('team plan operator starter', env)).stdout, /^plan +starter$/m)
    const { slug, plan } = JSON.parse((await succeed('team plan operator pro --json', env)).stdout)
    assert.deepEqual({ slug, plan }, { slug: 'operator', plan: 'pro' })
    assert.match((await rhone('team plan nobody pro', env)).stderr, /^rhone: .*not found/)
    assert.equal((await rhone('team plan operator', env)).code, 2)
  })

  it('prints the error of the server with the request id', async () => {
    const { code, stdout, stderr } = await rhone('token create ci', { ...env, RHONE_TOKEN: 'rhone_wrong' })
    assert.equal(code, 1)
    assert.equal(stdout, '')
    assert.match(stderr, /Authentication required.*\(401 UNAUTHORIZED, request [\w-]+\)/)

    const missing = await rhone('token revoke 00000000-0000-4000-8000-000000000000', env)
    assert.equal(missing.code, 1)
    assert.match(missing.stderr, /token not found \(404 NOT_FOUND/)
  })

  it('closes the platform, shows its state, and opens it', async () => {
    const closed = await succeed(['maintenance', 'on', '--message', 'Back soon', '--until', '30m', '--json'], env)
    assert.equal(JSON.parse(closed.stdout).message, 'Back soon')
    assert.equal((await as(null, 'GET', '/api/v1/ping')).statusCode, 503)

    assert.match((await succeed('maintenance status', env)).stdout, /^platform +closed\nmessage +Back soon\n/)
    assert.match((await succeed('maintenance off', env)).stdout, /^platform +open\n/)
    assert.equal((await as(null, 'GET', '/api/v1/ping')).statusCode, 200)
  })

  it('finds a healthy server healthy', async () => {
    const { stdout } = await succeed('smoke --json', env)
    assert.deepEqual(
      JSON.parse(stdout).checks.filter(({ ok }: { ok: boolean }) => !ok),
      []
    )
  })

  it('reports a closed server as unavailable', async t => {
    await succeed('maintenance on', env)
    t.after(() => succeed('maintenance off', env))
    const { code, stdout } = await rhone('smoke', env)
    assert.equal(code, 1)
    assert.match(stdout, /^alive +ok$/m)
    assert.match(stdout, /^answers +FAILED +answered 503 MAINTENANCE, expected 200$/m)
  })
})

describe('with the database', () => {
  it('migrates an empty one, and does nothing the second time', async t => {
    const DATABASE_URL = await emptyDatabase(t)
    const first = JSON.parse((await succeed('migrate --json', { DATABASE_URL })).stdout)
    assert.ok(first.applied.length > 0)
    assert.deepEqual(JSON.parse((await succeed('migrate --json', { DATABASE_URL })).stdout), {
      applied: [],
      indexed: []
    })
  })

  it('reports failures without a stack trace', async () => {
    const { code, stderr } = await rhone('migrate', { DATABASE_URL: 'postgres://none:none@127.0.0.1:1/none' })
    assert.equal(code, 1)
    assert.match(stderr, /^rhone: .*ECONNREFUSED/)
    assert.doesNotMatch(stderr, /\n {4}at /)
  })

  it('grants and revokes operators, but never the last one', async t => {
    const DATABASE_URL = await freshDatabase(t)
    const sql = postgres(DATABASE_URL, { max: 1, onnotice() {} })
    await sql`insert into users (username) values ('ann'), ('bob')`

    await succeed('operator grant ann', { DATABASE_URL })
    await succeed('operator grant bob', { DATABASE_URL })
    await succeed('operator revoke ann', { DATABASE_URL })
    assert.match((await rhone('operator revoke bob', { DATABASE_URL })).stderr, /last operator/)
    assert.match((await rhone('operator grant eve', { DATABASE_URL })).stderr, /user not found/)

    const operators = await sql`select username from users where is_admin`
    const events = await sql`select action, actor, resource_name from audit_logs order by created_at, id`
    await sql.end()
    assert.deepEqual([...operators], [{ username: 'bob' }])
    assert.deepEqual(
      events.map(event => `${event.action} ${event.resource_name}`),
      ['grant ann', 'grant bob', 'revoke ann']
    )
    for (const { actor } of events) assert.match(actor, /\(command line\)$/)
  })

  it('closes the platform directly in the database; the server follows, and the audit log records it', async t => {
    const DATABASE_URL = await freshDatabase(t)
    const { app, env, as, token } = await runningServer(t, { DATABASE_URL })
    await succeed('maintenance on --direct --retry-after 60', { DATABASE_URL })
    assert.match((await succeed('maintenance status --direct', { DATABASE_URL })).stdout, /^platform +closed\n/)

    await eventually(() => app.maintenance.state.enabled)
    const refused = await as(null, 'GET', '/api/v1/ping')
    assert.equal(refused.statusCode, 503)
    assert.equal(refused.headers['retry-after'], '60')

    await succeed('maintenance off', env)
    const { items } = (await as(token, 'GET', '/admin/audit?type=admin')).json()
    const actors = items
      .filter((event: { resource: string }) => event.resource === 'maintenance')
      .map((event: { action: string; actor: string }) => `${event.action} by ${event.actor}`)
    assert.equal(actors.length, 2)
    assert.match(actors[0], /^reopen by operator$/)
    assert.match(actors[1], /^close by .+ \(command line\)$/)
  })
})

describe('openapi', () => {
  it('prints the description of the API without a database', async () => {
    const { stdout } = await succeed('openapi')
    const document = JSON.parse(stdout)
    assert.match(document.openapi, /^3\.1/)
    for (const path of ['/health', '/api/v1/apps', '/admin/maintenance']) assert.ok(path in document.paths, path)
  })
})

describe('rhone audit', () => {
  it('exports over HTTP as NDJSON and CSV, and reports a refusal', async () => {
    const lines = (await succeed('audit export', env)).stdout.trimEnd().split('\n')
    const events = lines.map(line => JSON.parse(line))
    assert.equal(events[0].action, 'create')
    assert.ok(!events.some(({ action }) => action === 'export'), 'it ends where it began, without its own row')
    const csv = (await succeed('audit export --format csv --from 2020-01-01 --to 2020-02-01', env)).stdout
    assert.match(csv, /^id,createdAt,type,.*requestId\r\n$/)
    assert.equal((await rhone('audit export --format xml', env)).code, 2)
    assert.equal((await rhone('audit export --from today', env)).code, 2)
    const refused = await rhone('audit export', { ...env, RHONE_TOKEN: 'rhone_nothing' })
    assert.deepEqual([refused.code, refused.stdout], [1, ''])
  })

  it('verifies in the database, and fails with the name of a changed row', async t => {
    const url = await freshDatabase(t)
    const SIGNING_KEYS = generateKey()
    const { app } = await testApp(t, { DATABASE_URL: url, SIGNING_KEYS })
    const sql = postgres(url, { max: 1, onnotice: () => {} })
    t.after(() => sql.end())
    await eventually(async () => Number((await sql`select count(*) from audit_seals`)[0]!.count) > 0)
    await app.close()

    const env = { DATABASE_URL: url, SIGNING_KEYS }
    const report = JSON.parse((await succeed('audit verify --json', env)).stdout)
    assert.deepEqual([report.intact, report.problems], [1, []])
    const [changed] = await sql
      .begin(tx => [tx`set local rhone.audit_purge = 'on'`, tx`update audit_logs set actor = 'nobody' returning id`])
      .then(([, rows]) => rows!)
    const found = await rhone('audit verify', env)
    assert.equal(found.code, 1)
    assert.match(found.stdout, new RegExp(`row ${changed!.id} of link 1 was changed`))
  })
})
