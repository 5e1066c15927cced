import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import postgres from 'postgres'
import { addInstallation, deliver, fakeRepository, startFakeGithub } from '../fakes/github/server.ts'
import { freshDatabase } from '../support/database.ts'
import { openApp, visitors } from '../support/deployed-app.ts'
import { eventually } from '../support/eventually.ts'
import { push as pushEvent } from '../support/github-deliveries.ts'
import { startServer } from '../support/process.ts'
import { saying, testRepository } from '../support/pushed-repository.ts'

const INSTALLATION = 4242
const REPOSITORY = 1001
const SECRET = 'it is only a test'

/** The shipped server, a GitHub fake, and a repository that one team may deploy. */
async function platform(t: TestContext) {
  const github = await startFakeGithub()
  t.after(() => github.close())
  const repository = await testRepository(t)
  github.gitRoot = repository.root
  const account = { login: 'acme', id: 7, type: 'Organization' } as const
  addInstallation(github, INSTALLATION, account, [fakeRepository(REPOSITORY, 'acme/website')])

  const dataDir = await mkdtemp(join(tmpdir(), 'rhone-push-'))
  t.after(() => rm(dataDir, { recursive: true, force: true }))
  const databaseUrl = await freshDatabase(t)
  const env = {
    DATABASE_URL: databaseUrl,
    DATA_DIR: dataDir,
    APPS_PORT: '0',
    GITHUB_URL: github.url,
    GITHUB_API_URL: github.url,
    GITHUB_APP_ID: String(github.app.id),
    GITHUB_APP_SLUG: github.app.slug,
    GITHUB_APP_PRIVATE_KEY: github.app.privateKey,
    GITHUB_CLIENT_ID: github.clientId,
    GITHUB_CLIENT_SECRET: github.clientSecret,
    GITHUB_WEBHOOK_SECRET: SECRET
  }
  const server = await startServer(t, env)
  github.hook = { url: `${server.url}/webhooks/github`, secret: SECRET }

  // biome-ignore lint/suspicious/noExplicitAny: whatever the API answers
  async function call(method: string, path: string, body?: object): Promise<any> {
    const response = await fetch(server.url + path, {
      method,
      headers: {
        authorization: `Bearer ${server.token}`,
        ...(body && { 'content-type': 'application/json' })
      },
      ...(body && { body: JSON.stringify(body) })
    })
    const reply = await response.json()
    assert.ok(response.ok, `${method} ${path}: ${response.status} ${JSON.stringify(reply)}`)
    return reply
  }

  /** Connects a team to the installation in the database; normally, its owner proves the right to it in a browser. */
  async function bindInstallation() {
    const { items } = await call('GET', '/api/v1/teams')
    const [team] = items as { id: string }[]
    const sql = postgres(databaseUrl, { max: 1 })
    await sql`insert into github_installations (team_id, installation_id, account_type, account_login, account_id)
      values (${team!.id}, ${INSTALLATION}, 'Organization', 'acme', 7)`
    await sql.end()
  }

  /** Commits, pushes, and delivers the webhook. @returns the commit */
  async function push(files: Record<string, string>, message: string) {
    const { sha, before } = await repository.push(files, message)
    const pushedAt = Math.floor(Date.now() / 1_000)
    const told = { installationId: INSTALLATION, repoId: REPOSITORY, repo: 'acme/website', before, after: sha, message }
    const { status_code } = await deliver(github, 'push', pushEvent({ ...told, pushedAt }))
    assert.equal(status_code, 202)
    return sha
  }

  /** Does the same. @returns the resulting deployment once it has finished */
  async function pushAndDeploy(files: Record<string, string>, message: string) {
    const sha = await push(files, message)
    return settled(({ commitSha }) => commitSha === sha)
  }

  /** The newest deployment, once it is over and as expected. */
  async function settled(isIt: (deployment: Deployment) => boolean): Promise<Deployment> {
    const newest = async () => ((await call('GET', '/api/v1/apps/website/deployments')).items as Deployment[])[0]
    const found = await eventually(newest, deployment => {
      const isOver = !['pending', 'cloning', 'analyzing', 'building', 'pushing', 'built', 'deploying'].includes(
        deployment?.status ?? 'pending'
      )
      return deployment !== undefined && isOver && isIt(deployment)
    })
    return found!
  }

  return { github, server, call, bindInstallation, push, pushAndDeploy, settled }
}

type Platform = Awaited<ReturnType<typeof platform>>

interface Deployment {
  id: string
  status: string
  trigger: string
  commitSha: string | null
  commitMessage: string | null
  errorMessage: string | null
}

test('a platform with a pushed app', async t => {
  const its = await platform(t)

  await t.test('from a push to a running app, and back', t => pushedAndBack(t, its))
  await t.test('duplicate pushes deploy once, and of ten in a second the last one is live', () => pushedAgain(its))
})

async function pushedAndBack(t: TestContext, { github, call, bindInstallation, pushAndDeploy, settled }: Platform) {
  await bindInstallation()
  const { url } = await call('POST', '/api/v1/apps', { name: 'Website', githubRepo: 'acme/website' })
  await call('PUT', '/api/v1/apps/website/env/GREETING', { value: 'to you' })

  const first = await pushAndDeploy(saying('one'), 'Say one')
  assert.deepEqual(
    [first.status, first.trigger, first.commitMessage],
    ['live', 'webhook', 'Say one'],
    first.errorMessage!
  )
  const { url: opened } = await call('GET', '/api/v1/apps/website')
  assert.ok(url, 'an app gets its future URL')
  assert.deepEqual(await openApp(opened!), { status: 200, text: 'one to you' })

  const people = visitors(t.signal, opened!)
  t.after(() => people.leave())
  const second = await pushAndDeploy(saying('two'), 'Say two')
  assert.equal(second.status, 'live')
  assert.equal((await openApp(opened!)).text, 'two to you')

  const broken = { ...saying('three'), 'package.json': '{"scripts":{"start":"node server.js","build":"exit 3"}}' }
  const third = await pushAndDeploy(broken, 'Break it')
  assert.equal(third.status, 'build_failed')
  assert.equal((await openApp(opened!)).text, 'two to you')

  const rollback = await call('POST', '/api/v1/apps/website/rollback', {})
  assert.equal((await settled(({ id }) => id === rollback.id)).status, 'live')
  assert.equal((await openApp(opened!)).text, 'one to you')

  await people.leave()
  const answers = new Set(people.seen)
  assert.deepEqual([...answers].sort(), ['one to you', 'two to you'], 'every request was answered')
  const switches = people.seen.filter((text, index) => index > 0 && text !== people.seen[index - 1]).length
  assert.ok(people.seen.length > 50 && switches >= 2)

  const statuses = await eventually(
    () => github.statuses.map(({ sha, state }) => `${sha}: ${state}`),
    said => said.includes(`${third.commitSha}: failure`) && said.includes(`${second.commitSha}: success`)
  )
  assert.ok(statuses.includes(`${first.commitSha}: success`))
}

async function pushedAgain({ github, call, push, pushAndDeploy, settled }: Platform) {
  const { id: zero } = await pushAndDeploy(saying('zero'), 'Say zero')
  const deployments = async () => (await call('GET', '/api/v1/apps/website/deployments')).items as Deployment[]
  const before = (await deployments()).length

  const delivered = github.deliveries.find(({ payload }) => payload.includes('Say zero'))
  const again = await Promise.all(
    Array.from({ length: 5 }, () => deliver(github, 'push', JSON.parse(delivered!.payload), delivered!.guid))
  )
  assert.deepEqual(new Set(again.map(({ status_code }) => status_code)), new Set([202]))
  assert.equal((await deployments()).length, before)

  for (let count = 1; count <= 10; count++) await push(saying(`push ${count}`), `Push ${count}`)
  await settled(({ commitMessage }) => commitMessage === 'Push 10')
  const all = await deployments()
  const items = all.slice(0, all.findIndex(({ id }) => id === zero) + 1)
  const outcomes = items.map(({ commitMessage, status }) => `${commitMessage}: ${status}`)
  assert.equal(outcomes[0], 'Push 10: live')
  for (const { status } of items.slice(1)) assert.ok(['cancelled', 'superseded'].includes(status), outcomes.join('\n'))
  const { url } = await call('GET', '/api/v1/apps/website')
  assert.equal((await openApp(url!)).text, 'push 10 to you')
}
