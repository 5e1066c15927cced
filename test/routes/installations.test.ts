import assert from 'node:assert/strict'
import { after, afterEach, describe, test } from 'node:test'
import { eq } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import { apps, auditLogs, githubInstallations, teamMembers, users } from '../../drizzle/schema.ts'
import github from '../../integrations/github/index.ts'
import routes, { type RoutesOptions } from '../../routes/index.ts'
import { createToken } from '../../src/domain/accounts/tokens.ts'
import { addTeam } from '../domain/support.ts'
import {
  addInstallation,
  type FakeInstallation,
  type FakeUser,
  fakeRepository,
  fakeUser,
  startFakeGithub
} from '../fakes/github/server.ts'
import { testApp } from '../support/app.ts'
import { TestBrowser } from '../support/browser.ts'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/free-port.ts'
import { errorOf, platform } from './support.ts'

const fake = await startFakeGithub()
after(() => fake.close())
const port = await freePort()
const base = `http://127.0.0.1:${port}`
fake.redirectUris.push(`${base}/auth/callback`, `${base}/github/callback`)
fake.app.setupUrl = `${base}/github/callback`

/** The routes of a server with a GitHub App. */
async function withGithub(app: FastifyInstance, options: RoutesOptions) {
  if (!app.hasDecorator('github')) {
    const { id: appId, slug, privateKey } = fake.app
    const { clientId, clientSecret, url } = fake
    const callback = `${base}/github/callback`
    await app.register(github, { appId, slug, privateKey, clientId, clientSecret, callback, url, apiUrl: url })
  }
  await app.register(routes, options)
}

const { app, as } = await testApp(
  { after } as never,
  {
    BASE_URL: base,
    GITHUB_CLIENT_ID: fake.clientId,
    GITHUB_CLIENT_SECRET: fake.clientSecret,
    GITHUB_URL: fake.url,
    GITHUB_API_URL: fake.url,
    GITHUB_APP_ID: String(fake.app.id),
    GITHUB_APP_PRIVATE_KEY: fake.app.privateKey,
    GITHUB_APP_SLUG: fake.app.slug,
    RATE_LIMIT_AUTH: '10000/s:10000',
    RATE_LIMIT_GENERAL: '10000/s:10000',
    RATE_LIMIT_USER: '10000/s:10000'
  },
  { routes: withGithub }
)
await app.listen({ host: '127.0.0.1', port })

let next = 1_000
afterEach(() => {
  fake.faults.length = 0
  fake.app.requestsAuthorization = true
})

/** Requests that the fake has answered, except those of the health check, which has a schedule of its own. */
const lookUps = () => fake.requests.filter(({ path }) => path !== '/app').length

/** A signed-in user with a team and an organization at GitHub. */
async function somebody(repositories = [fakeRepository(next++, `org-${next}/website`)]) {
  const id = next++
  const login = `user-${id}`
  const organization = `org-${id}`
  const user: FakeUser = { ...fakeUser(id, login), organizations: { [organization]: 'admin' } }
  const browser = new TestBrowser()
  fake.user = user
  await browser.open(`${base}/auth/github`)
  const [row] = await app.db.select().from(users).where(eq(users.githubId, id))
  const [member] = await app.db.select().from(teamMembers).where(eq(teamMembers.userId, row!.id))
  const { token } = await createToken(app.db, { userId: row!.id, name: 'test', scopes: ['admin'] })
  const account = { id: id + 100_000, login: organization, type: 'Organization' } as const
  const installation: FakeInstallation = {
    id: id + 200_000,
    account,
    repositories,
    suspended_at: null,
    collaborators: []
  }
  const teamId = member!.teamId
  return {
    user,
    browser,
    teamId,
    installation,
    userId: row!.id,
    call: (method: string, url: string, body?: unknown) => as(token, method, url, body),
    connect: (team = teamId, chosen: FakeInstallation | null = installation) => {
      fake.user = user
      fake.app.installing = chosen
      return browser.open(`${base}/github/connect?team=${team}`)
    }
  }
}

const connectionsOf = (teamId: string) =>
  app.db.select().from(githubInstallations).where(eq(githubInstallations.teamId, teamId))

describe('connecting a team', () => {
  test('by the owner of the account gives the team the installation, and the audit log says so', async () => {
    const { teamId, userId, installation, connect, call } = await somebody()
    const page = await connect()
    assert.equal(page.status, 200, page.body)
    assert.match(page.url, /\/teams\/[\w-]+\?done=connected#installations$/)
    assert.match(page.body, new RegExp(`<strong>${installation.account.login}</strong>`), 'its page shows it')
    const list = (await call('GET', `/api/v1/teams/${teamId}/installations`)).json()
    const { id, createdAt, ...told } = list.items[0]
    assert.deepEqual(told, {
      installationId: installation.id,
      accountType: 'Organization',
      accountLogin: installation.account.login,
      suspendedAt: null
    })
    const rows = await eventually(
      async () => app.db.select().from(auditLogs).where(eq(auditLogs.resourceId, id)),
      rows => rows.length > 0
    )
    const { userId: by, eventType, action, resource, teamId: of, details } = rows[0]!
    assert.deepEqual([by, eventType, action, resource, of], [userId, 'team', 'connect', 'installation', teamId])
    assert.deepEqual(details, { installationId: installation.id, account: installation.account.login })
  })

  test('also works without a code, and repeatedly', async () => {
    const { teamId, connect } = await somebody()
    fake.app.requestsAuthorization = false
    assert.equal((await connect()).status, 200)
    assert.equal((await connect()).status, 200)
    assert.equal((await connectionsOf(teamId)).length, 1)
  })

  test('cannot take an installation from another team, even by name', async () => {
    const first = await somebody()
    await first.connect()
    const second = await somebody()
    // They own the organization together.
    second.user.organizations = first.user.organizations!
    const page = await second.connect(second.teamId, first.installation)
    assert.equal(page.status, 409)
    assert.match(page.body, /connected to another team/)
    assert.equal((await connectionsOf(first.teamId)).length, 1)
    assert.equal((await connectionsOf(second.teamId)).length, 0)
  })

  test('does not accept another’s installation by its number in the URL', async () => {
    const victim = await somebody()
    addInstallation(fake, victim.installation.id, victim.installation.account)
    const { browser, teamId, connect, user } = await somebody()
    fake.user = user
    fake.app.installing = victim.installation
    const begun = await browser.open(`${base}/github/connect?team=${teamId}`, { follow: false })
    const back = await browser.open(begun.headers.get('location')!, { follow: false })
    const page = await browser.open(back.headers.get('location')!)
    assert.deepEqual([page.status, /not yours/.test(page.body)], [403, true])
    assert.equal((await connectionsOf(teamId)).length, 0)
    assert.equal((await connect()).status, 200)
  })

  test('requires an admin, at the start and at the end', async () => {
    const { userId, connect, browser, installation, user } = await somebody()
    const team = await addTeam(app.db, { [userId]: 'member' })
    assert.equal((await connect(team.id)).status, 403)
    await app.db.update(teamMembers).set({ role: 'admin' }).where(eq(teamMembers.teamId, team.id))
    fake.user = user
    fake.app.installing = installation
    const begun = await browser.open(`${base}/github/connect?team=${team.slug}`, { follow: false })
    const back = await browser.open(begun.headers.get('location')!, { follow: false })
    await app.db.update(teamMembers).set({ role: 'member' }).where(eq(teamMembers.teamId, team.id))
    assert.equal((await browser.open(back.headers.get('location')!)).status, 403)
    assert.equal((await connectionsOf(team.id)).length, 0)
    const other = await somebody()
    assert.equal((await connect(other.teamId)).status, 404)
  })

  test('sends an anonymous visitor to the sign-in page first', async () => {
    const page = await new TestBrowser().open(`${base}/github/connect?team=x`, { follow: false })
    assert.equal(page.headers.get('location'), `/login?next=${encodeURIComponent('/github/connect?team=x')}`)
  })

  test('reports if GitHub does not answer, and can be started again', async () => {
    const { connect, teamId } = await somebody()
    fake.faults.push({ path: '/user/installations', status: 503, times: 9 })
    const page = await connect()
    assert.equal(page.status, 503)
    assert.ok(Number(page.headers.get('retry-after')) > 0)
    assert.equal((await connectionsOf(teamId)).length, 0)
    fake.faults.length = 0
    assert.equal((await connect()).status, 200)
  })
})

describe('the installations of a team', () => {
  test('can be disconnected by admins; its apps stay, without an installation', async () => {
    const { teamId, connect, call, installation } = await somebody()
    await connect()
    const githubRepo = installation.repositories[0]!.full_name
    const { id: appId } = (await call('POST', '/api/v1/apps', { name: 'x', githubRepo, team: teamId })).json()
    const [row] = await connectionsOf(teamId)
    const url = `/api/v1/teams/${teamId}/installations/${row!.id}`
    const stranger = await somebody()
    assert.equal((await stranger.call('DELETE', url)).statusCode, 404)
    const own = `/api/v1/teams/${stranger.teamId}/installations/${row!.id}`
    assert.equal((await stranger.call('DELETE', own)).statusCode, 404)
    assert.equal((await call('DELETE', url)).statusCode, 204)
    assert.equal((await call('DELETE', url)).statusCode, 404)
    const [left] = await app.db.select().from(apps).where(eq(apps.id, appId))
    assert.deepEqual([left!.githubRepo, left!.githubInstallationId], [githubRepo, null])
  })
})

describe('the repositories of a team', () => {
  const repositories = ['b/Web', 'a/api', 'a/web-site', 'c/docs'].map(name => fakeRepository(next++, name))

  test('are found by a part of their name, page by page, over all of its installations', async () => {
    const { teamId, connect, call, installation } = await somebody(repositories.slice(0, 2))
    await connect()
    const more = { ...installation, id: next++, repositories: repositories.slice(2) }
    await connect(teamId, more)
    const url = `/api/v1/teams/${teamId}/repositories`
    const names = async (query: string) => {
      const page = (await call('GET', `${url}?${query}`)).json()
      return [page.items.map((item: { fullName: string }) => item.fullName), page.nextCursor]
    }
    assert.deepEqual(await names(''), [['a/api', 'a/web-site', 'b/Web', 'c/docs'], null])
    assert.deepEqual(await names('q=WEB'), [['a/web-site', 'b/Web'], null])
    const [first, cursor] = await names('limit=3')
    assert.deepEqual(first, ['a/api', 'a/web-site', 'b/Web'])
    assert.deepEqual(await names(`limit=3&cursor=${cursor}`), [['c/docs'], null])
    const item = (await call('GET', `${url}?q=docs`)).json().items[0]
    assert.deepEqual(Object.keys(item), ['id', 'fullName', 'isPrivate', 'defaultBranch', 'installationId'])
    assert.equal(item.installationId, more.id)
  })

  test('exclude suspended and removed installations', async () => {
    const { teamId, connect, call, installation } = await somebody(repositories.slice(0, 1))
    await connect()
    const more = { ...installation, id: next++, repositories: repositories.slice(1, 2) }
    await connect(teamId, more)
    const names = async () => {
      const { items } = (await call('GET', `/api/v1/teams/${teamId}/repositories`)).json()
      return items.map((item: { fullName: string }) => item.fullName)
    }
    // The server has not been notified yet.
    installation.suspended_at = new Date().toISOString()
    assert.deepEqual(await names(), ['a/api'])
    await app.db
      .update(githubInstallations)
      .set({ suspendedAt: new Date() })
      .where(eq(githubInstallations.installationId, more.id))
    assert.deepEqual(await names(), [])
  })

  test('is 503 with Retry-After while GitHub does not answer', async () => {
    const { teamId, connect, call } = await somebody()
    await connect()
    fake.faults.push({
      path: '/installation/repositories',
      status: 403,
      headers: { 'retry-after': '77' },
      message: 'You have exceeded a secondary rate limit.'
    })
    const reply = await call('GET', `/api/v1/teams/${teamId}/repositories`)
    assert.deepEqual([reply.statusCode, reply.headers['retry-after']], [503, '77'])
    assert.doesNotMatch(reply.body, /secondary|ghs_|http/)
  })
})

describe('the source of an app', () => {
  test('is a repository of an installation of its own team, as GitHub knows it', async () => {
    const { teamId, connect, call, installation } = await somebody()
    await connect()
    const repository = installation.repositories[0]!
    const typed = repository.full_name.toUpperCase()
    const created = await call('POST', '/api/v1/apps', { name: 'x', githubRepo: typed, team: teamId })
    assert.deepEqual([created.statusCode, created.json().githubRepo], [201, repository.full_name], created.body)
    const [row] = await app.db.select().from(apps).where(eq(apps.id, created.json().id))
    assert.deepEqual([row!.githubRepoId, row!.githubInstallationId], [repository.id, installation.id])

    const before = lookUps()
    const url = `/api/v1/apps/${row!.id}`
    await call('PUT', url, { name: 'y', githubRepo: repository.full_name })
    assert.equal(lookUps(), before, 'what has not changed is not asked for again')
    const [same] = await app.db.select().from(apps).where(eq(apps.id, row!.id))
    assert.deepEqual([same!.name, same!.githubInstallationId], ['y', installation.id])

    await call('PATCH', url, { githubRepo: null })
    const [cleared] = await app.db.select().from(apps).where(eq(apps.id, row!.id))
    assert.deepEqual([cleared!.githubRepoId, cleared!.githubInstallationId], [null, null])
  })

  test('cannot be a repository of another team, even by name', async () => {
    const victim = await somebody()
    await victim.connect()
    const { connect, call, teamId } = await somebody()
    await connect()
    for (const githubRepo of [victim.installation.repositories[0]!.full_name, 'nobody/nothing']) {
      const reply = await call('POST', '/api/v1/apps', { name: 'x', githubRepo, team: teamId })
      assert.deepEqual(errorOf(reply), {
        status: 400,
        code: 'VALIDATION_ERROR',
        detail: `githubRepo: ${githubRepo} is not a repository of an installation of the team`
      })
    }
  })

  test('may not be looked up by a member who may not change the app', async () => {
    const { connect, call, teamId, installation } = await somebody()
    await connect()
    const { id } = (await call('POST', '/api/v1/apps', { name: 'x', team: teamId })).json()
    const stranger = await somebody()
    const before = lookUps()
    const githubRepo = installation.repositories[0]!.full_name
    assert.equal((await stranger.call('PATCH', `/api/v1/apps/${id}`, { githubRepo })).statusCode, 404)
    assert.equal((await stranger.call('POST', '/api/v1/apps', { name: 'x', githubRepo, team: teamId })).statusCode, 404)
    assert.equal(lookUps(), before)
  })

  test('that cannot be verified leaves the app unchanged', async () => {
    const { connect, call, teamId, installation } = await somebody()
    await connect()
    const { id } = (await call('POST', '/api/v1/apps', { name: 'x', team: teamId })).json()
    fake.faults.push({ path: '/repos', status: 500, times: 9 })
    const githubRepo = installation.repositories[0]!.full_name
    const reply = await call('PATCH', `/api/v1/apps/${id}`, { name: 'y', githubRepo })
    assert.equal(reply.statusCode, 503)
    const { name, githubRepo: now } = (await call('GET', `/api/v1/apps/${id}`)).json()
    assert.deepEqual([name, now], ['x', null])
  })

  test('is unique: a git URL replaces the repository, and vice versa', async () => {
    const { connect, call, teamId, installation } = await somebody()
    await connect()
    const githubRepo = installation.repositories[0]!.full_name
    const gitUrl = 'https://git.example.com/acme/website.git'
    const { id } = (await call('POST', '/api/v1/apps', { name: 'x', githubRepo, team: teamId })).json()
    const patch = async (body: object) => {
      const { githubRepo, gitUrl } = (await call('PATCH', `/api/v1/apps/${id}`, body)).json()
      return [githubRepo, gitUrl]
    }
    assert.deepEqual(await patch({ gitUrl }), [null, gitUrl])
    const [row] = await app.db.select().from(apps).where(eq(apps.id, id))
    assert.deepEqual([row!.githubRepoId, row!.githubInstallationId], [null, null])
    assert.deepEqual(await patch({ githubRepo }), [githubRepo, null])
    const both = await call('PATCH', `/api/v1/apps/${id}`, { githubRepo, gitUrl })
    assert.equal(both.statusCode, 400)
    assert.match(both.body, /cannot be combined with githubRepo/)
  })
})

describe('a server without a GitHub App', () => {
  test('reports that, and accepts names of public repositories', async t => {
    const bare = await platform(t)
    const { owner, team } = await bare.addPeople()
    for (const url of [`/api/v1/teams/${team.id}/repositories`, `/github/connect?team=${team.id}`])
      assert.equal((await owner.call('GET', url)).statusCode, 501, url)
    assert.deepEqual((await owner.call('GET', `/api/v1/teams/${team.id}/installations`)).json().items, [])
    const created = await owner.call('POST', '/api/v1/apps', { name: 'x', githubRepo: 'acme/website', team: team.id })
    assert.equal(created.json().githubRepo, 'acme/website')
  })

  test('accepts local repositories only if apps run on the same machine', async t => {
    const remote = (app: FastifyInstance, options: RoutesOptions) =>
      app.register(routes, { ...options, allowLocalGit: false })
    for (const [swaps, status] of [
      [{ routes: remote as never }, 400],
      [{}, 201]
    ] as const) {
      const server = await platform(t, swaps)
      for (const gitUrl of ['file:///srv/git/website.git', 'http://127.0.0.1:3000/acme/website.git']) {
        const reply = await server.operator.call('POST', '/api/v1/apps', { name: 'x', gitUrl })
        assert.equal(reply.statusCode, status, `${gitUrl} ${reply.body}`)
      }
      const elsewhere = await server.operator.call('POST', '/api/v1/apps', { name: 'x', gitUrl: 'file://host/x.git' })
      assert.equal(elsewhere.statusCode, 400)
    }
  })
})
