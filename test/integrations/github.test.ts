import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { inspect, promisify } from 'node:util'
import { Registry } from '@platformatic/prom-client'
import Fastify from 'fastify'
import { jwtVerify } from 'jose'
import github, { type GithubOptions, InstallationUnavailable } from '../../integrations/github/index.ts'
import { RemoteError } from '../../plugins/lib/remote.ts'
import {
  addInstallation,
  deliver,
  type FakeRepository,
  type FakeUser,
  fakeRepository,
  fakeUser,
  startFakeGithub
} from '../fakes/github/server.ts'
import { TestBrowser } from '../support/browser.ts'
import { eventually } from '../support/eventually.ts'

const ACME = { id: 9_001, login: 'acme', type: 'Organization' } as const
const SHA = 'a'.repeat(40)

/** A GitHub where the App is installed on one organization, and a bare server that uses it. */
async function setup(t: TestContext, repositories: FakeRepository[] = [], options: Partial<GithubOptions> = {}) {
  const fake = await startFakeGithub()
  t.after(() => fake.close())
  const installation = addInstallation(fake, 77, ACME, repositories)
  const registry = new Registry()
  const app = Fastify()
  t.after(() => app.close())
  const { id: appId, slug, privateKey } = fake.app
  const { url, clientId, clientSecret } = fake
  const own = { appId, slug, privateKey, url, apiUrl: url, clientId, clientSecret, timeout: 2_000 }
  await app.register(github, Object.freeze({ ...own, ...options, registry }))
  const asked = (path: string | RegExp) =>
    fake.requests.filter(request => (typeof path === 'string' ? request.path === path : path.test(request.path)))
  return { fake, installation, app, github: app.github, asked, registry }
}

const website = () =>
  fakeRepository(1, 'acme/website', {
    commits: { main: { sha: SHA, message: 'Say hello\n\nLoudly: 👋', author: 'Ada' } }
  })
const numbered = (count: number) => Array.from({ length: count }, (_, i) => fakeRepository(i + 1, `acme/repo-${i + 1}`))
const tokenPath = '/app/installations/77/access_tokens'

const limited = (seconds: [number, number]) => (error: unknown) => {
  assert.ok(error instanceof RemoteError, inspect(error))
  assert.ok(error.retryAfter! >= seconds[0] && error.retryAfter! <= seconds[1], String(error.retryAfter))
  return true
}

test('without a key, no requests are made', async t => {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(github)
  await assert.rejects(app.github.repositories(1), { code: 'NOT_CONFIGURED' })
})

test('the App authenticates with a token that another library verifies, within the lifetime allowed by GitHub', async t => {
  const { github, fake, asked } = await setup(t, [website()])
  await github.repositories(77)
  const token = String(asked(tokenPath)[0]!.headers.authorization).replace('Bearer ', '')
  const { payload, protectedHeader } = await jwtVerify(token, fake.app.publicKeys[0]!, { algorithms: ['RS256'] })
  assert.deepEqual([protectedHeader.typ, payload.iss], ['JWT', String(fake.app.id)])
  const now = Date.now() / 1_000
  assert.ok(payload.iat! <= now - 59 && payload.exp! <= now + 600 && payload.exp! > now + 300)
})

test('concurrent callers share one token, which is reused', async t => {
  const { github, asked } = await setup(t, [website()])
  await Promise.all(Array.from({ length: 10 }, () => github.commit(77, 'acme/website', 'main')))
  await github.commit(77, 'acme/website', 'main')
  assert.equal(asked(tokenPath).length, 1)
})

test('a token that GitHub rejects is replaced once', async t => {
  const { github, fake, asked } = await setup(t, [website()])
  await github.commit(77, 'acme/website', 'main')
  fake.installationTokens.clear()
  const commits = await Promise.all([1, 2, 3].map(() => github.commit(77, 'acme/website', 'main')))
  assert.deepEqual(
    commits.map(commit => commit?.sha),
    [SHA, SHA, SHA]
  )
  assert.equal(asked(tokenPath).length, 2)
})

test('a token is not used shortly before it expires', async t => {
  const { github, fake, asked } = await setup(t, [website()])
  fake.app.tokenLifetime = 1_000
  await github.commit(77, 'acme/website', 'main')
  const madeBy = Date.now()
  await eventually(() => Date.now() > madeBy + 1_000)
  await github.commit(77, 'acme/website', 'main')
  assert.equal(asked(tokenPath).length, 2)
  assert.equal(asked(/commits/).length, 2, 'it was not tried with one that had ended')
})

test('all repositories of an installation are listed across pages, and cached', async t => {
  const { github, asked } = await setup(t, numbered(250))
  const { repositories, isComplete } = await github.repositories(77)
  assert.deepEqual([repositories.length, isComplete], [250, true])
  assert.deepEqual(repositories[249], { id: 250, fullName: 'acme/repo-250', isPrivate: true, defaultBranch: 'main' })
  await Promise.all([github.repositories(77), github.repositories(77)])
  assert.equal(asked('/installation/repositories').length, 3)
})

test('at most a thousand repositories are listed, and more are indicated', async t => {
  const { github, asked } = await setup(t, numbered(1_150))
  const { repositories, isComplete } = await github.repositories(77)
  assert.deepEqual([repositories.length, isComplete], [1_000, false])
  assert.equal(asked('/installation/repositories').length, 10)
})

test('an old list is revalidated by its entity tag, which is free if nothing has changed', async t => {
  const { github, installation, fake, app } = await setup(t, numbered(120))
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
  const clock = t.mock.method(performance, 'now')
  await github.repositories(77)
  const left = fake.rateLimit.remaining
  const later = performance.now() + 61_000
  clock.mock.mockImplementation(() => later)
  assert.equal((await github.repositories(77)).repositories.length, 120)
  assert.equal(fake.rateLimit.remaining, left)

  installation.repositories.push(fakeRepository(500, 'acme/new'))
  clock.mock.mockImplementation(() => later + 61_000)
  assert.equal((await github.repositories(77)).repositories.at(-1)!.fullName, 'acme/new')
  clock.mock.restore()
  await app.close()
})

test('cached answers of GitHub are evicted when an installation changes', async t => {
  const { github, installation, asked } = await setup(t, [website()])
  await github.repositories(77)
  installation.repositories.push(fakeRepository(2, 'acme/api'))
  github.forget(77)
  assert.equal((await github.repositories(77)).repositories.length, 2)
  assert.equal(asked(tokenPath).length, 2)
})

test('an entry evicted during its request is still answered, and requested again afterwards', async t => {
  const { github, installation } = await setup(t, [website()])
  const underWay = github.repositories(77)
  github.forget(77)
  assert.equal((await underWay).repositories.length, 1)
  installation.repositories.push(fakeRepository(2, 'acme/api'))
  assert.equal((await github.repositories(77)).repositories.length, 2)
})

test('a suspended or removed installation is distinguished from an outage, even while its token is valid', async t => {
  const { github, installation, fake } = await setup(t, [website()])
  const because = (reason: string) => (error: unknown) => {
    assert.ok(error instanceof InstallationUnavailable, inspect(error))
    assert.deepEqual([error.reason, error.code], [reason, 'CONFLICT'])
    return true
  }
  await github.commit(77, 'acme/website', 'main')
  installation.suspended_at = new Date().toISOString()
  await assert.rejects(github.commit(77, 'acme/website', 'main'), because('suspended'))
  await assert.rejects(github.cloneAuthorization(77), because('suspended'))
  fake.installations.length = 0
  await assert.rejects(github.commit(77, 'acme/website', 'main'), because('removed'))

  fake.installations.push({ ...installation, suspended_at: null })
  fake.faults.push({ path: tokenPath, status: 500 })
  await assert.rejects(github.commit(77, 'acme/website', 'main'), { name: 'RemoteError', status: 500 })
})

test('a repository belongs to the installation that has access, and public ones of others do not', async t => {
  const { github, fake } = await setup(t, [website()])
  const other = { id: 9_002, login: 'other', type: 'User' } as const
  addInstallation(fake, 78, other, [fakeRepository(5, 'other/open', { private: false })])
  assert.equal(await github.installationOf('acme/website'), 77)
  assert.equal(await github.installationOf('other/open'), 78)
  assert.deepEqual(await github.repository(77, 'ACME/Website'), {
    id: 1,
    fullName: 'acme/website',
    isPrivate: true,
    defaultBranch: 'main'
  })
  assert.equal(await github.repository(77, 'other/open'), null)
  assert.equal(await github.repository(77, 'acme/nothing'), null)
})

test('no repository name reaches another part of the API', async t => {
  const { github, fake } = await setup(t, [website()])
  for (const name of ['..', '../..', 'acme/..', './website', 'acme', 'acme/a/b', '/', '']) {
    assert.equal(await github.installationOf(name), null, name)
    assert.equal(await github.commit(77, name, 'main'), null, name)
    assert.equal(await github.setStatus(77, name, SHA, status()), false, name)
  }
  for (const ref of ['..', '../../other', 'a/../b', '.'])
    assert.equal(await github.commit(77, 'acme/website', ref), null, ref)
  assert.equal(fake.requests.length, 0)
  assert.equal(await github.installationOf('acme/web?x#y%2e'), null)
  assert.equal(fake.requests[0]!.path, '/repos/acme/web%3Fx%23y%252e/installation')
})

test('the commit of a branch is found, and a missing branch has none', async t => {
  const { github } = await setup(t, [website()])
  assert.deepEqual(await github.commit(77, 'acme/website', 'main'), {
    sha: SHA,
    message: 'Say hello\n\nLoudly: 👋',
    author: 'Ada'
  })
  for (const ref of ['nothing', 'feature/ü?#%2e', '..'])
    assert.equal(await github.commit(77, 'acme/website', ref), null)
})

const status = (description = 'Deployed') =>
  ({ state: 'success', description, targetUrl: 'https://rhone.example/apps/x' }) as const

test('a status is set, its description truncated between characters', async t => {
  const { github, fake } = await setup(t, [website()])
  assert.equal(await github.setStatus(77, 'acme/website', SHA, status('🚀'.repeat(200))), true)
  assert.deepEqual(fake.statuses, [
    {
      repository: 'acme/website',
      sha: SHA,
      state: 'success',
      description: `${'🚀'.repeat(139)}…`,
      target_url: 'https://rhone.example/apps/x',
      context: 'rhone/deploy'
    }
  ])
  assert.equal(await github.setStatus(77, 'acme/website', 'b'.repeat(40), status()), false)
})

test('an installation with an exhausted rate limit makes no requests until the reset', async t => {
  const { github, fake, asked } = await setup(t, [website()])
  fake.rateLimit.remaining = 3
  fake.rateLimit.reset = Math.floor(Date.now() / 1_000) + 900
  await github.commit(77, 'acme/website', 'main')
  await github.commit(77, 'acme/website', 'main')
  const before = fake.requests.length
  for (const _ of [1, 2, 3]) await assert.rejects(github.commit(77, 'acme/website', 'main'), limited([880, 910]))
  assert.equal(fake.requests.length, before)
  assert.equal(asked(/commits/).length, 2)
})

test('a secondary limit applies only to the subject that reached it', async t => {
  const { github, fake } = await setup(t, [website()])
  addInstallation(fake, 78, { id: 1, login: 'o', type: 'User' }, [
    fakeRepository(5, 'o/x', { commits: { main: { sha: SHA, message: '', author: '' } } })
  ])
  fake.faults.push({ path: '/repos/acme', status: 403, headers: { 'retry-after': '120' }, message: 'secondary' })
  await assert.rejects(github.commit(77, 'acme/website', 'main'), limited([120, 120]))
  const before = fake.requests.length
  await assert.rejects(github.commit(77, 'acme/website', 'main'), limited([110, 120]))
  assert.equal(fake.requests.length, before)
  assert.equal((await github.commit(78, 'o/x', 'main'))?.sha, SHA)
})

test('a failed call is retried, and a hanging one is aborted', async t => {
  const { github, fake } = await setup(t, [website()], { timeout: 300 })
  fake.faults.push({ path: '/repos/acme/website/commits', status: 502, times: 1 })
  assert.equal((await github.commit(77, 'acme/website', 'main'))?.sha, SHA)
  fake.faults.push({ path: '/repos/acme/website/commits', times: 99 })
  await assert.rejects(github.commit(77, 'acme/website', 'main'), { name: 'RemoteError', kind: 'timeout' })
})

test('git clones with a token for one repository, which no error message shows', async t => {
  const root = await mkdtemp(join(tmpdir(), 'rhone-github-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  const { github, fake, installation } = await setup(t, [website(), fakeRepository(2, 'acme/other')])
  fake.gitRoot = root
  const run = promisify(execFile)
  const git = (...args: string[]) =>
    run('git', args, { env: { PATH: process.env.PATH, HOME: root, GIT_TERMINAL_PROMPT: '0' } })
  const identity = ['-c', 'user.name=Ada', '-c', 'user.email=ada@example.com']
  for (const { full_name } of installation.repositories) {
    const bare = join(root, `${full_name}.git`)
    await git('init', '-q', '--bare', '-b', 'main', bare)
    const work = join(root, 'work', full_name)
    await git('clone', '-q', bare, work)
    await git('-C', work, ...identity, 'commit', '-q', '--allow-empty', '-m', 'First')
    await git('-C', work, 'push', '-q', 'origin', 'HEAD:main')
  }
  const narrow = await github.cloneAuthorization(77, 1)
  const clone = (name: string, authorization: string) =>
    git(
      '-c',
      `http.extraHeader=Authorization: ${authorization}`,
      'clone',
      '-q',
      `${fake.url}/${name}.git`,
      join(root, randomBytes(4).toString('hex'))
    )
  await clone('acme/website', narrow)
  await assert.rejects(clone('acme/other', narrow))
  await clone('acme/other', await github.cloneAuthorization(77))
  await assert.rejects(clone('acme/website', 'basic bm8='))
  assert.equal((await github.commit(77, 'acme/other', 'main'))?.message, 'First')
})

test('deliveries are read page by page back to a time, with ids beyond JavaScript numbers', async t => {
  const { github, fake, asked } = await setup(t)
  const now = Date.now()
  for (let i = 250; i > 0; i--) {
    const delivery = await deliver(fake, 'push', {})
    delivery.delivered_at = new Date(now - i * 60_000).toISOString()
  }
  const latest = await github.deliveries(new Date(now - 150.5 * 60_000))
  assert.equal(latest.length, 150)
  assert.deepEqual(latest[0], {
    id: fake.deliveries[0]!.id,
    guid: fake.deliveries[0]!.guid,
    deliveredAt: new Date(now - 60_000),
    succeeded: false
  })
  assert.ok(BigInt(latest[0]!.id) > BigInt(Number.MAX_SAFE_INTEGER))
  assert.equal(asked('/app/hook/deliveries').length, 2)
  assert.equal(await github.redeliver(latest[149]!.id), true)
  assert.equal(await github.redeliver('123'), false)
})

test('requests to GitHub are measured by operation', async t => {
  const { github, registry } = await setup(t, [website()])
  await github.commit(77, 'acme/website', 'main')
  assert.match(await registry.metrics(), /service="github",operation="get_commit",outcome="success"\} 1/)
})

/** A user with a browser, on a server where teams can be connected. */
async function visit(t: TestContext, user: FakeUser) {
  const { fake, app, installation, github } = await setup(t, [website()])
  fake.user = user
  fake.app.installing = installation
  app.get('/connect', (_request, reply) => reply.redirect(github.connect(reply, 'team-1')))
  app.get('/github/callback', async (request, reply) => {
    const connected = await github.connected(request, reply)
    return 'redirect' in connected ? reply.redirect(connected.redirect) : connected
  })
  const base = await app.listen({ host: '127.0.0.1', port: 0 })
  fake.app.setupUrl = `${base}/github/callback`
  return { fake, base, installation, browser: new TestBrowser(), github }
}

const owner = () => ({ ...fakeUser(5, 'ada'), organizations: { acme: 'admin' as const } })

test('an owner of the account connects an installation', async t => {
  const { base, browser } = await visit(t, owner())
  const page = await browser.open(`${base}/connect`)
  assert.equal(page.status, 200, page.body)
  assert.deepEqual(JSON.parse(page.body), {
    teamId: 'team-1',
    installation: { id: 77, accountType: 'Organization', accountLogin: 'acme', accountId: 9_001, suspendedAt: null }
  })
})

test('an App that does not ask for authorization during installation redirects users to it', async t => {
  const { fake, base, browser } = await visit(t, owner())
  fake.app.requestsAuthorization = false
  fake.redirectUris.push('http://localhost/github/callback')
  const begun = await browser.open(`${base}/connect`, { follow: false })
  const back = await browser.open(begun.headers.get('location')!, { follow: false })
  const toAuthorize = await browser.open(back.headers.get('location')!, { follow: false })
  assert.match(toAuthorize.headers.get('location')!, /\/login\/oauth\/authorize\?client_id=.*&state=/)
  const authorized = await browser.open(toAuthorize.headers.get('location')!, { follow: false })
  const { search } = new URL(authorized.headers.get('location')!)
  const page = await browser.open(`${base}/github/callback${search}`)
  assert.equal(JSON.parse(page.body).installation?.id, 77, page.body)
})

test('read access to one repository of an organization is not access to all of them', async t => {
  const memberships: FakeUser['organizations'][] = [{ acme: 'member' }, {}]
  for (const organizations of memberships) {
    const { base, browser, installation } = await visit(t, { ...fakeUser(6, 'eve'), organizations })
    installation.collaborators.push(6)
    const page = await browser.open(`${base}/connect`)
    assert.equal(page.status, 403)
    assert.match(page.body, /not yours/)
  }
})

test('an installation of someone else cannot be claimed', async t => {
  const { base, browser, fake } = await visit(t, fakeUser(7, 'mallory'))
  const begun = await browser.open(`${base}/connect`, { follow: false })
  const back = await browser.open(begun.headers.get('location')!, { follow: false })
  const url = new URL(back.headers.get('location')!)
  for (const id of ['77', '78', '-1', 'x', '1e3', '9'.repeat(30)]) {
    const again = new URL(url)
    again.searchParams.set('installation_id', id)
    const page = await new TestBrowser().open(again.href)
    assert.equal(page.status, 400, 'without the cookie')
  }
  assert.equal((await browser.open(url.href)).status, 403)
  assert.ok(fake.requests.some(({ path }) => path === '/user/installations'))
})

test('a callback in another browser, repeated, late or awaiting approval is refused with advice', async t => {
  const { base, browser, fake } = await visit(t, owner())
  const begin = async () => {
    const begun = await browser.open(`${base}/connect`, { follow: false })
    return (await browser.open(begun.headers.get('location')!, { follow: false })).headers.get('location')!
  }
  const first = await begin()
  const second = await begin()
  assert.match((await browser.open(first)).body, /not the latest attempt of this browser/)
  assert.match((await new TestBrowser().open(second)).body, /not started in this browser/)
  assert.equal((await browser.open(second)).status, 200)
  assert.match((await browser.open(second)).body, /not started in this browser/)

  fake.app.installing = null
  assert.match((await browser.open(await begin())).body, /must approve first/)
})

test('no user token is stored or appears in errors', async t => {
  const { base, browser, fake, github } = await visit(t, owner())
  await browser.open(`${base}/connect`)
  const [token] = [...fake.userTokens.keys()]
  assert.ok(token)
  assert.ok(!inspect(github, { depth: 9, showHidden: true }).includes(token))
})
