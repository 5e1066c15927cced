import { createHash, randomBytes, verify } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { commitIn } from './git.ts'
import { attempt } from './hooks.ts'
import { bodyOf, pageOf, refuse, send } from './http.ts'
import type { FakeInstallation, FakeRepository, Grant, World } from './world.ts'

interface Exchange {
  readonly world: World
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly url: URL
  /** The parts of the path captured by the route. */
  readonly parts: readonly string[]
  readonly limits: Record<string, string>
}

type Caller = 'app' | 'installation' | 'user'
type Handler = (exchange: Exchange, who: { installation?: FakeInstallation; grant?: Grant }) => unknown

const ROUTES: readonly [method: string, path: RegExp, caller: Caller, Handler][] = [
  ['GET', /^\/user$/, 'user', scoped('read:user', user => ({ ...user, emails: undefined, email: null }))],
  ['GET', /^\/user\/emails$/, 'user', scoped('user:email', user => user.emails)],
  ['GET', /^\/user\/installations$/, 'user', userInstallations],
  ['GET', /^\/user\/memberships\/orgs\/([^/]+)$/, 'user', membership],
  ['GET', /^\/app$/, 'app', getApp],
  ['GET', /^\/app\/hook\/deliveries$/, 'app', listDeliveries],
  ['POST', /^\/app\/hook\/deliveries\/(\d+)\/attempts$/, 'app', redeliver],
  ['POST', /^\/app\/installations\/(\d+)\/access_tokens$/, 'app', createToken],
  ['GET', /^\/repos\/([^/]+\/[^/]+)\/installation$/, 'app', repositoryInstallation],
  ['GET', /^\/installation\/repositories$/, 'installation', listRepositories],
  ['GET', /^\/repos\/([^/]+\/[^/]+)$/, 'installation', getRepository],
  ['GET', /^\/repos\/([^/]+\/[^/]+)\/commits\/(.+)$/, 'installation', getCommit],
  ['POST', /^\/repos\/([^/]+\/[^/]+)\/statuses\/([^/]+)$/, 'installation', createStatus]
]

/** GitHub's REST API. */
export async function answerApi(
  world: World,
  request: IncomingMessage,
  response: ServerResponse,
  url: URL
): Promise<unknown> {
  if (request.headers['user-agent'] === undefined)
    return refuse(response, 403, 'Request forbidden by administrative rules.')
  for (const [method, path, caller, handle] of ROUTES) {
    const found = method === request.method ? path.exec(url.pathname) : null
    if (found === null) continue
    const limits = countCall(world, response)
    if (limits === null) return
    const parts = found.slice(1).map(decodeURIComponent)
    const exchange = { world, request, response, url, parts, limits }
    const who = identify(exchange, caller)
    if (who !== null) await handle(exchange, who)
    return
  }
  refuse(response, 404, 'Not Found')
}

function countCall(world: World, response: ServerResponse): Record<string, string> | null {
  const { rateLimit } = world
  const limits = (remaining: number) => ({
    'x-ratelimit-limit': '5000',
    'x-ratelimit-remaining': String(remaining),
    'x-ratelimit-used': String(5_000 - remaining),
    'x-ratelimit-reset': String(rateLimit.reset),
    'x-ratelimit-resource': 'core'
  })
  if (rateLimit.remaining <= 0) {
    refuse(response, 403, 'API rate limit exceeded for installation ID 1.', limits(0))
    return null
  }
  rateLimit.remaining--
  return limits(rateLimit.remaining)
}

function identify({ world, request, response, limits }: Exchange, caller: Caller) {
  const [, token = ''] = /^(?:Bearer|token) (.+)$/i.exec(request.headers.authorization ?? '') ?? []
  const deny = (status: number, message: string) => {
    refuse(response, status, message, limits)
    return null
  }
  if (caller === 'app') {
    const fault = faultOfJwt(world, token)
    return fault === null ? {} : deny(401, fault)
  }
  if (caller === 'user') {
    const grant = world.userTokens.get(token)
    return grant === undefined ? deny(401, 'Bad credentials') : { grant }
  }
  const known = world.installationTokens.get(token)
  if (known === undefined || known.ends <= Date.now()) return deny(401, 'Bad credentials')
  const installation = world.installations.find(({ id }) => id === known.installationId)
  if (installation === undefined) return deny(401, 'Bad credentials')
  if (installation.suspended_at !== null) return deny(403, 'This installation has been suspended')
  return { installation }
}

/** The error of an App token, in GitHub's wording; null if it is valid. */
export function faultOfJwt({ app }: World, token: string): string | null {
  const [header = '', payload = '', signature = ''] = token.split('.')
  const bytes = Buffer.from(signature, 'base64url')
  const read = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString())
  try {
    const isSigned = app.publicKeys.some(key => verify('sha256', Buffer.from(`${header}.${payload}`), key, bytes))
    if (!isSigned || read(header).alg !== 'RS256') return 'A JSON web token could not be decoded'
    const { iat, exp, iss } = read(payload)
    const now = Date.now() / 1_000
    if (String(iss) !== String(app.id)) return 'Integration not found'
    if (exp - now > 600) return "'Expiration time' claim ('exp') is too far in the future"
    if (exp <= now) return "'Expiration time' claim ('exp') must be a numeric value representing the future time"
    if (iat > now)
      return "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
    return null
  } catch {
    return 'A JSON web token could not be decoded'
  }
}

/** The token of an OAuth app is limited by its scope, that of a GitHub App by the App's permissions. */
function scoped(scope: string, body: (user: Grant['user']) => unknown): Handler {
  return ({ response, limits }, { grant }) => {
    const { user, scope: granted } = grant!
    if (granted !== '' && !granted.split(' ').includes(scope)) return refuse(response, 404, 'Not Found', limits)
    const { organizations: _, ...told } = user
    send(response, 200, body(told), limits)
  }
}

function getApp({ world: { app, url }, response, limits }: Exchange): void {
  const html_url = `${url}/apps/${app.slug}`
  send(response, 200, { id: app.id, slug: app.slug, name: app.slug, html_url, events: ['push'] }, limits)
}

function userInstallations({ world, response, url, limits }: Exchange, { grant }: { grant?: Grant }): void {
  const { id, login, organizations = {} } = grant!.user
  const reachable = world.installations.filter(
    ({ account, collaborators }) =>
      account.id === id || account.login === login || account.login in organizations || collaborators.includes(id)
  )
  const { items, headers } = pageOf(reachable, url)
  const installations = items.map(installation => installationJson(world, installation))
  send(response, 200, { total_count: reachable.length, installations }, { ...limits, ...headers })
}

function installationJson({ app, url }: World, { id, account, suspended_at }: FakeInstallation) {
  return {
    id,
    account: { ...account, node_id: 'MDQ6VXNlcjE=', site_admin: false },
    repository_selection: 'selected',
    access_tokens_url: `${url}/app/installations/${id}/access_tokens`,
    repositories_url: `${url}/installation/repositories`,
    html_url: `${url}/settings/installations/${id}`,
    app_id: app.id,
    app_slug: app.slug,
    target_id: account.id,
    target_type: account.type,
    permissions: { contents: 'read', metadata: 'read', statuses: 'write', members: 'read' },
    events: ['push'],
    created_at: '2026-01-01T00:00:00Z',
    updated_at: '2026-01-01T00:00:00Z',
    single_file_name: null,
    suspended_by: null,
    suspended_at
  }
}

function membership({ response, parts, limits }: Exchange, { grant }: { grant?: Grant }): unknown {
  const role = grant!.user.organizations?.[parts[0]!]
  if (role === undefined) return refuse(response, 404, 'Not Found', limits)
  send(response, 200, { state: 'active', role, organization: { login: parts[0] } }, limits)
}

async function createToken({ world, request, response, parts, limits }: Exchange): Promise<unknown> {
  const installation = world.installations.find(({ id }) => id === Number(parts[0]))
  if (installation === undefined) return refuse(response, 404, 'Not Found', limits)
  if (installation.suspended_at !== null) return refuse(response, 403, 'This installation has been suspended', limits)
  const asked = JSON.parse((await bodyOf(request)) || '{}') as { repository_ids?: number[]; permissions?: object }
  const known = installation.repositories.map(({ id }) => id)
  if (asked.repository_ids?.some(id => !known.includes(id)))
    return refuse(response, 422, 'There is at least one repository that does not exist or is not accessible', limits)
  const token = `ghs_${randomBytes(18).toString('hex')}`
  const ends = Date.now() + world.app.tokenLifetime
  const repositoryIds = asked.repository_ids ?? null
  world.installationTokens.set(token, { installationId: installation.id, ends, repositoryIds })
  send(
    response,
    201,
    {
      token,
      expires_at: new Date(ends).toISOString().replace(/\.\d+Z$/, 'Z'),
      permissions: asked.permissions ?? { contents: 'read', metadata: 'read', statuses: 'write' },
      repository_selection: 'selected'
    },
    limits
  )
}

const named = (installation: FakeInstallation, name: string) =>
  installation.repositories.find(({ full_name }) => full_name.toLowerCase() === name.toLowerCase())

function repositoryInstallation({ world, response, parts, limits }: Exchange): unknown {
  const found = world.installations.find(installation => named(installation, parts[0]!) !== undefined)
  if (found === undefined) return refuse(response, 404, 'Not Found', limits)
  send(response, 200, installationJson(world, found), limits)
}

function repositoryJson({ url }: World, { id, full_name, private: isPrivate, default_branch }: FakeRepository) {
  const [owner, name] = full_name.split('/')
  return {
    id,
    node_id: 'MDEwOlJlcG9zaXRvcnkx',
    name,
    full_name,
    owner: { login: owner, type: 'Organization' },
    private: isPrivate,
    html_url: `${url}/${full_name}`,
    description: null,
    fork: false,
    clone_url: `${url}/${full_name}.git`,
    default_branch,
    archived: false,
    disabled: false,
    visibility: isPrivate ? 'private' : 'public',
    permissions: { admin: false, push: false, pull: true }
  }
}

function listRepositories(exchange: Exchange, { installation }: { installation?: FakeInstallation }): unknown {
  const { world, request, response, url, limits } = exchange
  const { items, headers } = pageOf(installation!.repositories, url)
  const body = {
    total_count: installation!.repositories.length,
    repository_selection: 'selected',
    repositories: items.map(repository => repositoryJson(world, repository))
  }
  const etag = `"${createHash('sha256').update(JSON.stringify(body)).digest('hex')}"`
  if (request.headers['if-none-match'] === etag) {
    // Unchanged replies do not count.
    world.rateLimit.remaining++
    return send(response, 304, undefined, { ...limits, etag })
  }
  send(response, 200, body, { ...limits, ...headers, etag })
}

/** A repository that an installation can read: its own, or a public one. */
function readable({ world, parts }: Exchange, installation: FakeInstallation): FakeRepository | undefined {
  const own = named(installation, parts[0]!)
  if (own !== undefined) return own
  return world.installations.map(other => named(other, parts[0]!)).find(other => other && !other.private)
}

function getRepository(exchange: Exchange, { installation }: { installation?: FakeInstallation }): unknown {
  const repository = readable(exchange, installation!)
  if (repository === undefined) return refuse(exchange.response, 404, 'Not Found', exchange.limits)
  send(exchange.response, 200, repositoryJson(exchange.world, repository), exchange.limits)
}

async function getCommit(exchange: Exchange, { installation }: { installation?: FakeInstallation }): Promise<unknown> {
  const { world, response, parts, limits } = exchange
  const repository = readable(exchange, installation!)
  if (repository === undefined) return refuse(response, 404, 'Not Found', limits)
  const commit = repository.commits[parts[1]!] ?? (await commitIn(world.gitRoot, repository.full_name, parts[1]!))
  if (commit === null) return refuse(response, 422, `No commit found for SHA: ${parts[1]}`, limits)
  const author = { name: commit.author, email: 'author@example.com', date: '2026-01-01T00:00:00Z' }
  send(
    response,
    200,
    { sha: commit.sha, commit: { author, committer: author, message: commit.message }, author: null, parents: [] },
    limits
  )
}

async function createStatus(
  exchange: Exchange,
  { installation }: { installation?: FakeInstallation }
): Promise<unknown> {
  const { world, request, response, parts, limits } = exchange
  const repository = named(installation!, parts[0]!)
  if (repository === undefined) return refuse(response, 404, 'Not Found', limits)
  const sha = parts[1]!
  const isKnown =
    Object.values(repository.commits).some(commit => commit.sha === sha) ||
    (await commitIn(world.gitRoot, repository.full_name, sha)) !== null
  if (!isKnown) return refuse(response, 422, `No commit found for SHA: ${sha}`, limits)
  const { state, description = '', target_url = '', context = 'default' } = JSON.parse(await bodyOf(request))
  if (!['error', 'failure', 'pending', 'success'].includes(state) || [...description].length > 140)
    return refuse(response, 422, 'Validation Failed', limits)
  world.statuses.push({ repository: repository.full_name, sha, state, description, target_url, context })
  send(response, 201, { id: world.statuses.length, state, description, target_url, context }, limits)
}

function listDeliveries({ world, response, url, limits }: Exchange): void {
  const perPage = Math.min(100, Number(url.searchParams.get('per_page') ?? 30))
  const from = Number(url.searchParams.get('cursor')?.replace('v1_', '') ?? 0)
  const items = world.deliveries.slice(from, from + perPage).map(({ payload: _, ...delivery }) => ({
    ...delivery,
    id: rawNumber(delivery.id),
    duration: 0.1,
    status: delivery.status_code < 300 ? 'OK' : 'Invalid HTTP Response',
    action: null,
    installation_id: null,
    repository_id: null,
    throttled_at: null
  }))
  const next = new URL(url)
  next.searchParams.set('cursor', `v1_${from + perPage}`)
  const isLast = from + perPage >= world.deliveries.length
  send(response, 200, items, { ...limits, ...(!isLast && { link: `<${next}>; rel="next"` }) })
}

/** A number beyond the safe integers of JavaScript. */
const rawNumber = (digits: string) => (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(digits)

async function redeliver({ world, response, parts, limits }: Exchange): Promise<unknown> {
  const delivery = world.deliveries.find(({ id }) => id === parts[0])
  if (delivery === undefined) return refuse(response, 404, 'Not Found', limits)
  send(response, 202, {}, limits)
  await attempt(world, delivery.event, delivery.payload, delivery.guid)
}
