import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, test } from 'node:test'
import { eq } from 'drizzle-orm'
import type { FastifyContextConfig, FastifyInstance, LightMyRequestResponse, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import {
  apiTokens,
  deployments,
  incidents,
  ROLES,
  type Role,
  SCOPES,
  type Scope,
  sessions,
  teamMembers,
  teams,
  users
} from '../drizzle/schema.ts'
import { hashToken } from '../plugins/lib/token.ts'
import requestId from '../plugins/request-id.ts'
import { createToken } from '../src/domain/accounts/tokens.ts'
import { createApp } from '../src/domain/apps/apps.ts'
import { connectInstallation } from '../src/domain/github/installations.ts'
import { platform } from './routes/support.ts'
import { inject } from './support/inject.ts'
import { addDeadJob } from './support/jobs.ts'

/* Every route against every kind of caller. The expected answer of each cell follows from the policy that the route
 * declares: a new route is included automatically, unless its URL or body needs a resource that is missing in `THINGS`
 * or `BODIES`, which fails.
 */

const routes: RouteOptions[] = []
const spy = fp(async (app: FastifyInstance) => {
  app.addHook('onRoute', route => void routes.push(route))
  await app.register(requestId, {})
})
// Shedding is off: the load of the test machine must not affect access.
const server = await platform({ after }, { 'request-id': spy })
const { db } = server.app

/** Part of every name in a world: its occurrence in a reply to another caller reveals a leak. */
const newMarker = () => `zz${randomBytes(6).toString('hex')}`

interface World {
  marker: string
  team: { id: string; slug: string }
  app: { id: string; slug: string }
  people: Record<Role, string>
  /** A member who never calls, as a target for others. */
  bystander: string
  foreigners: Record<Role, string>
}

/**
 * A team with one person in each role, an app, and everything else that a URL can name; and another such team. Created
 * with few statements, because each caller who may change it needs a new one.
 */
async function createWorld(): Promise<World> {
  const marker = newMarker()
  const others = newMarker()
  const idOf = await addUsers([...namesOf(marker), `${marker}-bystander`, ...namesOf(others)])
  const peopleOf = (prefix: string) =>
    Object.fromEntries(ROLES.map(role => [role, idOf(`${prefix}-${role}`)])) as Record<Role, string>
  const people = peopleOf(marker)
  const foreigners = peopleOf(others)
  const bystander = idOf(`${marker}-bystander`)

  const [team, othersTeam] = await db
    .insert(teams)
    .values([marker, others].map(prefix => ({ plan: 'pro', name: `${prefix} team`, slug: `${prefix}-team` }) as const))
    .returning()
  await db
    .insert(teamMembers)
    .values([
      ...ROLES.map(role => ({ teamId: team!.id, userId: people[role], role })),
      { teamId: team!.id, userId: bystander, role: 'member' },
      ...ROLES.map(role => ({ teamId: othersTeam!.id, userId: foreigners[role], role }))
    ])
  const app = await createApp(db, team!.id, { name: `${marker} app`, slug: `${marker}-app` })
  return { marker, team: team!, app, people, bystander, foreigners }
}

const namesOf = (prefix: string) => ROLES.map(role => `${prefix}-${role}`)

async function addUsers(names: readonly string[]): Promise<(name: string) => string> {
  const rows = await db
    .insert(users)
    .values(names.map(username => ({ username })))
    .returning({ id: users.id, username: users.username })
  const ids = new Map(rows.map(({ id, username }) => [username, id]))
  return name => ids.get(name)!
}

/** The resource that a URL parameter names, by the preceding segment. */
const THINGS: Record<string, (world: World) => string | Promise<string>> = {
  'teams/:team': world => world.team.id,
  'apps/:app': world => world.app.id,
  'members/:user': world => world.bystander,
  'users/:user': world => world.bystander,
  'assets/:file': () => server.app.assets.href('app.css').slice('/assets/'.length),
  'env/:key': async world => {
    await callAs(world.people.owner, 'PUT', `/api/v1/apps/${world.app.id}/env/${world.marker.toUpperCase()}`, {
      value: 'x'
    })
    return world.marker.toUpperCase()
  },
  'deployments/:id': async world => {
    const [row] = await db.insert(deployments).values({ appId: world.app.id }).returning({ id: deployments.id })
    return row!.id
  },
  'installations/:id': async world => {
    const account = { accountType: 'User', accountLogin: world.marker, accountId: 1, suspendedAt: null } as const
    const id = Number.parseInt(randomBytes(6).toString('hex'), 16) + 1
    return (await connectInstallation(db, world.team.id, { id, ...account })).id
  },
  'invitations/:id': async world => {
    const url = `/api/v1/teams/${world.team.id}/invitations`
    return (await callAs(world.people.owner, 'POST', url, { email: `${newMarker()}@example.com` })).json().id
  },
  'jobs/:id': () => addDeadJob(db),
  'incidents/:id': async () => {
    const [row] = await db
      .insert(incidents)
      .values({ title: newMarker(), severity: 'low', components: [] })
      .returning({ id: incidents.id })
    return row!.id
  }
}

/** Parameters whose resource always belongs to the caller. */
const OWN_THINGS: Record<string, (userId: string) => Promise<string>> = {
  'tokens/:id': async userId => (await createToken(db, { userId, name: 'own', scopes: ['read'] })).id,
  'sessions/:id': async userId => (await openSession(userId)).id
}

/** Bodies that cannot be derived from a schema. */
const BODIES: Record<string, (world: World) => unknown> = {
  transferTeam: world => ({ user: world.bystander }),
  updateTeamPlan: () => ({ plan: 'starter' }),
  createInvitation: () => ({ email: 'somebody@example.com' }),
  updateApp: () => ({ autoDeploy: false }),
  updateTeam: () => ({ name: 'renamed' }),
  setMaintenance: () => ({ enabled: false }),
  submitClosing: () => ({ enabled: 'no' }),
  submitNewApp: world => ({ team: world.team.slug, name: 'made', source: 'none' }),
  submitTeam: () => ({ name: 'renamed' }),
  submitTransfer: world => ({ user: world.bystander }),
  submitInvitation: () => ({ email: 'somebody@example.com' }),
  submitInvitationAnswer: () => ({ token: 'f'.repeat(64), answer: 'accept' }),
  acceptInvitation: () => ({ token: 'f'.repeat(64) }),
  restoreMe: () => ({ code: 'x'.repeat(43) })
}

/** The body decides access to these: an invented token opens nothing, and other teams are not found. */
const CAPABILITIES = ['acceptInvitation', 'restoreMe', 'firstSignIn', 'submitNewApp', 'submitInvitationAnswer']

/** The body names a resource that does not exist, like an outdated form. */
const MAY_BE_GONE = ['submitEnvVarDeletion']

/** These take API tokens only, never a session. */
const FOR_TOKENS = ['mintAccessToken']

type Caller = Role | 'foreign' | 'operator' | 'nobody'

interface Column {
  name: string
  caller: Caller
  /** The origin of the page, for a browser. */
  page?: 'ours' | 'foreign'
  /** The user, if authenticated. */
  userId?: (world: World) => string
  /** The headers of this caller. */
  credentials: (world: World, needed: Scope) => Promise<Record<string, string> | undefined>
}

const bearer = async (userId: string, scopes: readonly Scope[] = SCOPES) => {
  const { token } = await createToken(db, { userId, name: 'matrix', scopes })
  return { authorization: `Bearer ${token}` }
}
/** The headers of a browser after a sign-in of this user. */
async function openSession(userId: string) {
  const secret = randomBytes(32).toString('base64url')
  const soon = new Date(Date.now() + 3_600_000)
  const fields = { userId, secretHash: hashToken(secret), method: 'password', asOperator: false } as const
  const [row] = await db
    .insert(sessions)
    .values({ ...fields, idleUntil: soon, expiresAt: soon })
    .returning({ id: sessions.id })
  return { id: row!.id, cookie: `rhone_session=${secret}` }
}

/** The origin of the page that sends a request. */
const OUR_PAGE = { 'sec-fetch-site': 'same-origin' }
const SIBLING_PAGE = { 'sec-fetch-site': 'same-site', origin: 'https://tenant.rhone.app' }
const FOREIGN_PAGE = { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' }

const browser = async (userId: string, page: Record<string, string>) => ({
  ...page,
  cookie: (await openSession(userId)).cookie
})

const ended = (change: Partial<typeof apiTokens.$inferInsert>) => async (world: World) => {
  const { id, token } = await createToken(db, { userId: world.people.owner, name: 'ended', scopes: SCOPES })
  await db.update(apiTokens).set(change).where(eq(apiTokens.id, id))
  return { authorization: `Bearer ${token}` }
}

const columns: readonly Column[] = [
  { name: 'anonymous', caller: 'nobody', credentials: async () => ({}) },
  { name: 'expired token', caller: 'nobody', credentials: ended({ expiresAt: new Date(Date.now() - 1_000) }) },
  { name: 'revoked token', caller: 'nobody', credentials: ended({ revokedAt: new Date() }) },
  ...ROLES.map(
    (role): Column => ({
      name: `${role} of another team`,
      caller: 'foreign',
      userId: world => world.foreigners[role],
      credentials: world => bearer(world.foreigners[role])
    })
  ),
  {
    name: 'operator',
    caller: 'operator',
    userId: () => server.operator.id,
    credentials: async () => ({ authorization: `Bearer ${server.token}` })
  },
  {
    name: 'owner with too narrow a token',
    caller: 'nobody',
    // There is nothing narrower than `read`.
    credentials: async (world, needed) =>
      needed === 'read' ? undefined : bearer(world.people.owner, [needed === 'admin' ? 'deploy' : 'read'])
  },
  ...ROLES.map(
    (role): Column => ({
      name: role,
      caller: role,
      userId: world => world.people[role],
      credentials: world => bearer(world.people[role])
    })
  ),
  ...ROLES.map(
    (role): Column => ({
      name: `${role} in a browser`,
      caller: role,
      page: 'ours',
      userId: world => world.people[role],
      credentials: world => browser(world.people[role], OUR_PAGE)
    })
  ),
  {
    name: 'owner in a browser, on the page of a tenant',
    caller: 'owner',
    page: 'foreign',
    userId: world => world.people.owner,
    credentials: world => browser(world.people.owner, SIBLING_PAGE)
  },
  {
    name: 'owner in a browser, on a foreign page',
    caller: 'owner',
    page: 'foreign',
    userId: world => world.people.owner,
    credentials: world => browser(world.people.owner, FOREIGN_PAGE)
  }
]

/** The status required by a route's policy; undefined if the caller is admitted. */
function refusal(route: RouteOptions, { name, caller, page }: Column): number | undefined {
  const { access, csrf, page: isPage } = route.config as FastifyContextConfig
  const isForged = route.method !== 'GET' && (csrf ? page !== 'ours' : page === 'foreign')
  if (access === 'public' || access === 'metrics') return csrf && isForged ? 403 : undefined
  // A browser that opens a page is redirected to the sign-in.
  if (name.includes('narrow')) return 403
  if (caller === 'nobody') return isPage === true ? 303 : 401
  if (isForged || (page !== undefined && FOR_TOKENS.includes(operationOf(route)))) return 403
  if (access === 'operator') return caller === 'operator' ? undefined : 403
  if (access === 'authenticated' || !/:(team|app)\b/.test(route.url)) return undefined
  if (caller === 'foreign' || caller === 'operator') return 404
  return ROLES.indexOf(caller) >= ROLES.indexOf(access as Role) ? undefined : 403
}

const operationOf = ({ schema }: RouteOptions) => (schema as { operationId?: string } | undefined)?.operationId ?? ''

function neededScope({ config = {}, method }: RouteOptions): Scope {
  const { scope, access } = config as FastifyContextConfig
  return scope ?? (method === 'GET' && access !== 'operator' ? 'read' : 'admin')
}

async function callAs(userId: string, method: string, url: string, body?: unknown): Promise<LightMyRequestResponse> {
  return send(method, url, await bearer(userId), body)
}

function send(method: string, url: string, headers: Record<string, string>, body?: unknown) {
  return inject(server.app, {
    method: method as 'GET',
    url,
    headers,
    ...(body !== undefined && { payload: body as object })
  })
}

async function urlFor(route: RouteOptions, world: World, column: Column): Promise<string> {
  let { url } = route
  for (const [whole, segment, parameter] of route.url.matchAll(/([\w-]+)\/:(\w+)/g)) {
    const key = `${segment}/:${parameter}`
    const callerId = column.userId?.(world) ?? world.people.owner
    const value = await (OWN_THINGS[key]?.(callerId) ?? THINGS[key]?.(world))
    assert.ok(value, `${route.url}: say in THINGS what ${key} is`)
    url = url.replace(whole, `${segment}/${value}`)
  }
  return url
}

interface JsonSchema {
  type?: string | string[]
  properties?: Record<string, JsonSchema>
  required?: string[]
  enum?: unknown[]
  examples?: unknown[]
  default?: unknown
}

function bodyFor(route: RouteOptions, world: World): unknown {
  const { operationId = '', body } = (route.schema ?? {}) as { operationId?: string; body?: JsonSchema }
  if (body === undefined) return undefined
  if (BODIES[operationId] !== undefined) return BODIES[operationId](world)
  const properties = body.properties ?? {}
  return Object.fromEntries((body.required ?? []).map(key => [key, sampleOf(properties[key]!)]))
}

function sampleOf(schema: JsonSchema): unknown {
  if (schema.examples !== undefined) return schema.examples[0]
  if (schema.enum !== undefined) return schema.enum[0]
  if (schema.type === 'boolean') return false
  if (schema.type === 'array') return ['read']
  return 'x'
}

const walked = () => routes.filter(route => route.method !== 'HEAD' && route.method !== 'OPTIONS' && route.url !== '*')

test('every route is found, and declares who may call it', () => {
  assert.ok(walked().length > 40, `only ${walked().length} routes`)
  for (const route of walked()) assert.ok(route.config?.access, `${route.method} ${route.url}`)
})

for (const route of walked()) {
  test(`${route.method} ${route.url} answers each kind of caller according to its policy`, async () => {
    let world = await createWorld()
    for (const column of columns) {
      const credentials = await column.credentials(world, neededScope(route))
      if (credentials === undefined) continue
      const url = await urlFor(route, world, column)
      const response = await send(String(route.method), url, credentials, bodyFor(route, world))
      const cell = `${route.method} ${route.url} by ${column.name}: ${response.statusCode} ${response.body.slice(0, 300)}`

      const expected = refusal(route, column)
      if (expected !== undefined) assert.equal(response.statusCode, expected, cell)
      else assertAdmitted(route, response, cell)
      if (!(column.caller in world.people) && route.config?.access !== 'operator')
        assertSilent(response, world, url, cell)
      // An admitted caller may have changed everything.
      if (expected === undefined && route.method !== 'GET') world = await createWorld()
    }
  })
}

/** The caller was not refused; the result does not matter. */
function assertAdmitted(route: RouteOptions, response: LightMyRequestResponse, cell: string): void {
  const isCapability = [...CAPABILITIES, ...MAY_BE_GONE].includes(operationOf(route))
  const refused = isCapability ? [401, 403] : [401, 403, 404]
  const isAnswer = response.statusCode < 500 || response.statusCode === 501
  assert.ok(!refused.includes(response.statusCode) && isAnswer, cell)
}

/** The reply contains nothing of the world except the input of the request. */
function assertSilent(response: LightMyRequestResponse, world: World, url: string, cell: string): void {
  const asked = [url, encodeURIComponent(url)].map(text => text.toLowerCase())
  const reply = JSON.stringify([response.headers, response.body]).toLowerCase()
  const said = asked.reduce((text, ours) => text.replaceAll(ours, ''), reply)
  for (const secret of [world.marker, world.team.id, world.app.id])
    assert.ok(!said.includes(secret), `${cell} tells ${secret}`)
}

test('an inaccessible resource is unknown by its slug as well as by its UUID', async () => {
  const world = await createWorld()
  const headers = await bearer(world.foreigners.owner)
  for (const [known, unknown] of [
    [`/api/v1/teams/${world.team.slug}`, '/api/v1/teams/no-such-team'],
    [`/api/v1/apps/${world.app.slug}`, '/api/v1/apps/no-such-app'],
    [`/api/v1/apps/${world.app.id}`, `/api/v1/apps/${crypto.randomUUID()}`]
  ] as const) {
    const replies = [await send('GET', known, headers), await send('GET', unknown, headers)].map(reply => {
      const { requestId: _, ...error } = reply.json().error
      return [reply.statusCode, error, Object.keys(reply.headers).toSorted()]
    })
    assert.deepEqual(replies[0], replies[1], known)
  }
})

test('a deleted account is not authenticated', async () => {
  const world = await createWorld()
  const headers = await bearer(world.people.member)
  await db
    .update(users)
    .set({ eraseAfter: new Date(Date.now() + 60_000) })
    .where(eq(users.id, world.people.member))
  for (const url of ['/api/v1/me', '/api/v1/teams', `/api/v1/teams/${world.team.id}`])
    assert.equal((await send('GET', url, headers)).statusCode, 401, url)
})
