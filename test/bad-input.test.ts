import assert from 'node:assert/strict'
import { randomInt, randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import { sql } from 'drizzle-orm'
import fc from 'fast-check'
import type { FastifyInstance, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { apiTokens, apps, deployments, envVars, idempotencyKeys, teamMembers, teams, users } from '../drizzle/schema.ts'
import { ERROR_CODES } from '../plugins/lib/errors.ts'
import requestId from '../plugins/request-id.ts'
import { connectInstallation } from '../src/domain/github/installations.ts'
import { addTeam, addUser } from './domain/support.ts'
import { requestTo } from './routes/neighbours.ts'
import { errorOf, platform } from './routes/support.ts'
import { inject } from './support/inject.ts'
import { thoroughly } from './support/thorough.ts'

const routes: RouteOptions[] = []
const spy = fp(async (app: FastifyInstance) => {
  app.addHook('onRoute', route => void routes.push(route))
  await app.register(requestId, {})
})

// Shedding is off: the load of the test machine must not affect validation.
const server = await platform({ after }, { 'request-id': spy, builder: false })
const { team, owner, stranger } = await server.addPeople()
const own = (await owner.call('POST', '/api/v1/apps', { name: 'mine' })).json()
const foreign = (await stranger.call('POST', '/api/v1/apps', { name: 'theirs' })).json()

const COUNTED = [users, teams, teamMembers, apps, envVars, apiTokens, idempotencyKeys]

/** The row counts of everything that a request could change. */
async function contents(): Promise<number[]> {
  const counts = COUNTED.map(table => sql`(select count(*)::int from ${table})`)
  const [row] = await server.app.db.execute<{ counts: number[] }>(
    sql`select array[${sql.join(counts, sql`, `)}] as counts`
  )
  return row!.counts
}

/** Sends a request that must be refused, and checks that it had no effect. */
async function refused(send: () => ReturnType<typeof owner.call>) {
  const before = await contents()
  const response = await send()
  assert.deepEqual(await contents(), before)
  assert.equal((await owner.call('GET', `/api/v1/apps/${own.id}`)).json().version, 1)
  return errorOf(response)
}

const invalid = (detail: RegExp) => (error: { status: number; code: string; detail?: string }, what: string) => {
  assert.deepEqual([error.status, error.code], [400, 'VALIDATION_ERROR'], what)
  assert.match(error.detail ?? '', detail, what)
}

test('a value with the wrong type or format is refused, and the error names its field', async () => {
  const wrong: Record<string, unknown[]> = {
    name: [
      1,
      true,
      null,
      [],
      {},
      ['x'],
      '',
      '   ',
      '\t',
      '\u200b',
      ' \u2060\u00ad ',
      'a\0b',
      'a\nb',
      '\ud800',
      'x'.repeat(256),
      '💥'.repeat(256)
    ],
    slug: ['ab', 'Abc', 'a--b', '-ab', 'ab-', '1ab', 'a_b', 'äbc', 'a'.repeat(64), 'www', own.id, 1, null],
    team: ['', 1, null, 'x'.repeat(256)],
    githubRepo: [
      '',
      'acme',
      'acme/',
      '/web',
      'a/b/c',
      'acme/we b',
      '../web',
      'acme/..',
      'acme/.',
      `acme/${'x'.repeat(101)}`,
      1
    ],
    gitUrl: [
      '',
      'git@github.com:acme/web.git',
      'ssh://git@example.com/web.git',
      'http://example.com/web.git',
      'https://user:password@example.com/web.git',
      'https://token@example.com/web.git',
      'https://example.com',
      'https://example.com/web.git?x',
      'https://example.com/web.git#',
      'https://example.com/we b',
      'https://exämple.com/web',
      '--upload-pack=touch',
      `https://example.com/${'x'.repeat(500)}`,
      1
    ],
    githubBranch: [
      '',
      ' ',
      'a b',
      '-x',
      'a..b',
      'a//b',
      'a/',
      '/a',
      'a~1',
      'a^',
      'a:b',
      'a\\b',
      'a@{b',
      'a[b',
      'a.lock',
      'a.lock/b',
      'a\0',
      null
    ],
    region: ['', 'xxx', 'IAD', 'iad ', 1, null],
    autoDeploy: ['true', 'yes', 1, 0, null, '']
  }
  for (const [field, values] of Object.entries(wrong))
    for (const value of values) {
      const body = { name: 'x', [field]: value }
      const error = await refused(() => owner.call('POST', '/api/v1/apps', body))
      invalid(new RegExp(`^${field}\\b`))(error, `${field}: ${JSON.stringify(value)}`)
    }
})

test('an unknown, missing or read-only field is refused by name', async () => {
  const url = `/api/v1/apps/${own.id}`
  for (const field of ['id', 'teamId', 'version', 'createdAt', 'isAdmin', 'Name', 'toString'])
    for (const [method, target] of [
      ['POST', '/api/v1/apps'],
      ['PUT', url],
      ['PATCH', url]
    ] as const)
      invalid(new RegExp(`^${field}\\b`))(
        await refused(() => owner.call(method, target, { name: 'x', [field]: 'x' })),
        field
      )
  invalid(/^slug\b/)(await refused(() => owner.call('PATCH', url, { slug: 'other' })), 'a slug is for ever')
  invalid(/^name\b/)(await refused(() => owner.call('POST', '/api/v1/apps', {})), 'POST {}')
  invalid(/^name\b/)(await refused(() => owner.call('PUT', url, { autoDeploy: true })), 'PUT without a name')
  invalid(/body/)(await refused(() => owner.call('PATCH', url, {})), 'PATCH {}')
  invalid(/^x\b/)(await refused(() => owner.call('GET', '/api/v1/apps?x=1')), 'query')
})

test('a body that is not a JSON object is refused', async () => {
  const post = (payload: string | Buffer, type?: string) =>
    server.app.inject({
      method: 'POST',
      url: '/api/v1/apps',
      headers: { authorization: `Bearer ${owner.token}`, ...(type && { 'content-type': type }) },
      payload
    })
  const json = 'application/json'
  for (const body of ['{', '{"name":}', "{'name':'x'}", '{"name":"x"}}', 'NaN', '\ufeff', '{"name":"\\ud8"}'])
    assert.deepEqual(
      await refused(() => post(body, json)).then(({ status, code }) => [status, code]),
      [400, 'BAD_REQUEST'],
      body
    )
  for (const body of ['', 'null', '[]', '"x"', '1', 'true', '[{"name":"x"}]'])
    invalid(/body/)(await refused(() => post(body, json)), body)
  for (const type of [
    undefined,
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/xml',
    'x'
  ])
    assert.equal((await refused(() => post('name=x', type))).status, 415, type)
})

test('text that is not UTF-8 is refused, not repaired', async () => {
  const bad = [[0xff], [0xc3, 0x28], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf0, 0x9f, 0x90], [0xf5, 0x80, 0x80, 0x80]]
  for (const bytes of bad) {
    const payload = Buffer.concat([Buffer.from('{"name":"x'), Buffer.from(bytes), Buffer.from('"}')])
    const headers = { authorization: `Bearer ${owner.token}`, 'content-type': 'application/json' }
    const { status, code } = await refused(() =>
      server.app.inject({ method: 'POST', url: '/api/v1/apps', headers, payload })
    )
    assert.deepEqual([status, code], [400, 'BAD_REQUEST'], payload.toString('latin1'))
  }
  for (const url of ['/api/v1/apps/%ff', '/api/v1/apps/%c3%28', '/api/v1/apps/%', '/api/v1/teams/%ed%a0%80'])
    assert.ok([400, 404].includes((await refused(() => owner.call('GET', url))).status), url)
})

test('a body that is too large or too deeply nested is refused', async () => {
  const large = await refused(() => owner.call('POST', '/api/v1/apps', { name: 'x'.repeat(2_000_000) }))
  assert.deepEqual([large.status, large.code], [413, 'PAYLOAD_TOO_LARGE'])
  for (const deep of [
    `${'['.repeat(100_000)}${']'.repeat(100_000)}`,
    `{"name":${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}}`
  ]) {
    const headers = { authorization: `Bearer ${owner.token}`, 'content-type': 'application/json' }
    const { status } = await refused(() =>
      server.app.inject({ method: 'POST', url: '/api/v1/apps', headers, payload: deep })
    )
    assert.equal(status, 400)
  }
})

test('prototype pollution makes nobody an operator', async () => {
  const headers = { authorization: `Bearer ${owner.token}`, 'content-type': 'application/json' }
  for (const payload of [
    '{"name":"x","__proto__":{"isOperator":true}}',
    '{"name":"x","\\u005f_proto__":{"isOperator":true}}',
    '{"name":"x","constructor":{"prototype":{"isOperator":true}}}',
    '{"__proto__":{"name":"x"}}'
  ])
    assert.equal(
      (await refused(() => server.app.inject({ method: 'POST', url: '/api/v1/apps', headers, payload }))).status,
      400
    )
  assert.equal(({} as { isOperator?: boolean }).isOperator, undefined)
  assert.equal((await owner.call('GET', '/admin/stats')).statusCode, 403)
})

test('a forged cursor is refused', async () => {
  const encode = (text: string) => Buffer.from(text).toString('base64url')
  const cursors = [
    '',
    'x',
    '%00',
    "'",
    '%F0%9F%90%8E',
    'a'.repeat(513),
    encode('1'),
    encode(`x.${own.id}`),
    encode(`9999999999999999999.${own.id}`)
  ]
  for (const url of ['/api/v1/apps', '/api/v1/teams', '/api/v1/me/tokens']) {
    for (const cursor of cursors)
      invalid(/^cursor\b/)(await refused(() => owner.call('GET', `${url}?cursor=${cursor}`)), cursor)
    for (const limit of ['0', '-1', '201', '1.5', 'x', '', '1e9', '%00', '1&limit=2'])
      invalid(/^limit\b/)(await refused(() => owner.call('GET', `${url}?limit=${limit}`)), limit)
  }
  const far = encode(`9999999999999999.${own.id}`)
  assert.equal((await owner.call('GET', `/api/v1/apps?cursor=${far}`)).statusCode, 200)
})

test('an unknown resource and one of another team get the same 404', async () => {
  for (const key of [
    foreign.id,
    foreign.slug,
    randomUUID(),
    'unknown',
    '%00',
    '..%2f..%2fetc%2fpasswd',
    'x'.repeat(255)
  ]) {
    const targets = [
      ['GET', ''],
      ['PUT', '', { name: 'x' }],
      ['PATCH', '', { name: 'x' }],
      ['DELETE', ''],
      ['GET', '/env'],
      ['PUT', '/env/A', { value: 'x' }],
      ['DELETE', '/env/A']
    ] as const
    for (const [method, path, body] of targets)
      assert.deepEqual(
        await refused(() => owner.call(method, `/api/v1/apps/${key}${path}`, body)),
        { status: 404, code: 'NOT_FOUND' },
        `${method} ${key}${path}`
      )
  }
})

test('an invalid or failed precondition and an invalid Idempotency-Key are refused', async () => {
  const url = `/api/v1/apps/${own.id}`
  const patch = (headers: Record<string, string>) => refused(() => owner.call('PATCH', url, { name: 'x' }, headers))
  for (const tag of ['x', '"', '""x', '*"', 'W/x', '"a",', ','])
    assert.equal((await patch({ 'if-match': tag })).status, 400, tag)
  for (const tag of ['"1"', '""', '"x", "y"', `"${'x'.repeat(2000)}"`])
    assert.equal((await patch({ 'if-match': tag })).status, 412, tag)
  for (const key of ['', ' ', 'x'.repeat(256), 'a b', 'ü'])
    assert.equal((await patch({ 'idempotency-key': key })).status, 400, key)
})

test('a refused change does not use up its Idempotency-Key', async () => {
  const key = { 'idempotency-key': randomUUID() }
  assert.equal((await refused(() => owner.call('POST', '/api/v1/apps', { name: 'x', slug: 'mine' }, key))).status, 409)
  const second = await owner.call('POST', '/api/v1/apps', { name: 'x', slug: 'mine-too' }, key)
  assert.equal(second.statusCode, 201)
  const mismatch = await refused(() => owner.call('POST', '/api/v1/apps', { name: 'y' }, key))
  assert.deepEqual([mismatch.status, mismatch.code], [422, 'IDEMPOTENCY_MISMATCH'])
})

/** Existing resources, so that random requests get past the first lookup; some of them get deleted. */
async function known(): Promise<Record<string, readonly string[]>> {
  const { id, slug } = (await owner.call('POST', '/api/v1/apps', { name: 'to be drawn' })).json()
  await owner.call('PUT', `/api/v1/apps/${id}/env/KNOWN`, { value: 'x' })
  const joined = await addUser(server.app.db)
  const own = await addTeam(server.app.db, { [owner.id]: 'owner', [joined]: 'member' })
  const { id: invitation } = (
    await owner.call('POST', `/api/v1/teams/${own.id}/invitations`, { email: 'drawn@example.com' })
  ).json()
  const account = { accountType: 'User', accountLogin: 'drawn', accountId: 1, suspendedAt: null } as const
  const installation = await connectInstallation(server.app.db, own.id, { id: randomInt(2 ** 40), ...account })
  const [deployment] = await server.app.db
    .insert(deployments)
    .values({ appId: id, status: 'superseded' })
    .returning({ id: deployments.id })
  return {
    app: [id, slug, id, slug, foreign.id, randomUUID()],
    team: [own.id, own.slug, own.id, team.id, foreign.teamId],
    user: [joined, owner.id],
    id: [invitation, installation.id, deployment!.id, randomUUID()],
    key: ['KNOWN', 'API_KEY', 'PORT']
  }
}

/**
 * Excluded routes: they would revoke the tokens or delete the accounts of the test, or need a session, the GitHub App, or
 * an unguessable secret in the body.
 */
const UNREACHABLE = [
  'DELETE /api/v1/me',
  'POST /api/v1/me/password',
  'POST /api/v1/me/restore',
  'DELETE /api/v1/me/sessions/:id',
  'DELETE /api/v1/me/tokens/:id',
  'GET /api/v1/teams/:team/repositories',
  'POST /api/v1/teams/:team/transfer',
  'POST /api/v1/invitations/accept'
]

const callers = fc.constantFrom(owner.token, owner.token, server.token)

test('no route answers valid or nearly valid random values with a server error', async () => {
  const walked = routes.filter(route => route.method !== 'HEAD' && route.url !== '*')
  assert.ok(walked.length >= 20, `the walk found only ${walked.length} routes`)
  const succeeded = new Set<string>()
  const unreached: string[] = []

  for (const route of walked) {
    const name = `${route.method} ${route.url}`
    const things = await known()
    const property = fc.asyncProperty(requestTo(route, things), callers, async ({ url, headers, payload }, token) => {
      const response = await inject(server.app, {
        method: String(route.method) as 'GET',
        url,
        headers: {
          ...headers,
          authorization: `Bearer ${token}`,
          ...(payload !== undefined && { 'content-type': 'application/json' })
        },
        ...(payload !== undefined && { payload })
      })
      if (route.url === '/admin/maintenance') await server.operator.call('POST', route.url, { enabled: false })
      if (response.statusCode < 400) return void succeeded.add(name)
      // A page shows its form again, with the error.
      const isForm = String(response.headers['content-type']).startsWith('text/html')
      if (isForm && route.config?.page !== undefined) return assert.ok(response.statusCode < 500, response.body)
      const isUnconfigured = errorOf(response).code === 'NOT_CONFIGURED'
      if (isUnconfigured) succeeded.add(name) // there is nothing behind its checks
      const isPurpose = response.statusCode < 500 || isUnconfigured
      assert.ok(isPurpose, `${name}: ${response.statusCode} ${response.body}`)
      assert.ok((ERROR_CODES as string[]).includes(errorOf(response).code), response.body)
    })
    const isReached = () => succeeded.has(name) || !route.url.startsWith('/api/') || UNREACHABLE.includes(name)
    // For some routes, few random requests pass validation: these get more runs.
    for (let round = 0; round === 0 || (round < 20 && !isReached()); round++)
      await fc.assert(property, { numRuns: route.schema?.body ? thoroughly(25, 300) : thoroughly(8, 80) })
    if (!isReached()) unreached.push(name)
  }
  assert.deepEqual(unreached, [], 'the draws are too wild to get past the checks of these routes')
})
