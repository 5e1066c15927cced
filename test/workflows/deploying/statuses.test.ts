import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { eq } from 'drizzle-orm'
import Fastify from 'fastify'
import { apps, type DeploymentStatus, deployments, githubInstallations } from '../../../drizzle/schema.ts'
import github, { type Github } from '../../../integrations/github/index.ts'
import type { JobContext } from '../../../plugins/jobs/port.ts'
import { createApp } from '../../../src/domain/apps/apps.ts'
import { connectInstallation } from '../../../src/domain/github/installations.ts'
import { commitStatuses } from '../../../src/workflows/deploying/statuses.ts'
import { addTeam, openDatabase } from '../../domain/support.ts'
import { addInstallation, fakeRepository, startFakeGithub } from '../../fakes/github/server.ts'

const fake = await startFakeGithub()
after(() => fake.close())
const server = Fastify()
after(() => server.close())
const { id: appId, slug, privateKey } = fake.app
await server.register(github, { appId, slug, privateKey, url: fake.url, apiUrl: fake.url })

const db = await openDatabase({ after } as never)
const team = await addTeam(db)
let nextId = 1

/** An app with its own installation, and one commit of its repository. */
async function setup() {
  const id = nextId++
  const sha = String(id).padStart(40, 'a')
  const repository = fakeRepository(id, `acme/app-${id}`, {
    commits: { main: { sha, message: 'Try', author: 'Ada' } }
  })
  const account = { id: 9, login: 'acme', type: 'Organization' } as const
  const installation = addInstallation(fake, id + 100, account, [repository])
  await connectInstallation(db, team.id, {
    id: installation.id,
    accountType: 'Organization',
    accountLogin: 'acme',
    accountId: 9,
    suspendedAt: null
  })
  const app = await createApp(db, team.id, {
    name: 'x',
    githubRepo: repository.full_name,
    githubRepoId: id,
    githubInstallationId: installation.id
  })
  const deploy = async (status: DeploymentStatus, commitSha: string | null = sha) => {
    const [row] = await db.insert(deployments).values({ appId: app.id, status, commitSha }).returning()
    return row!.id
  }
  const said = () => fake.statuses.filter(status => status.repository === repository.full_name)
  return { app, sha, deploy, said, installation }
}

const context = { id: 'job', attempt: 1, isLastAttempt: false, signal: new AbortController().signal, log: server.log }
const report = (deploymentId: string, client: Github = server.github) =>
  commitStatuses({ db: () => db, github: client, baseUrl: 'https://rhone.example' }).run(
    { deploymentId },
    context as JobContext
  )

test('GitHub gets a commit status with a link for every state of a deployment', async () => {
  const expected: [DeploymentStatus, string][] = [
    ['pending', 'pending'],
    ['building', 'pending'],
    ['live', 'success'],
    ['superseded', 'success'],
    ['build_failed', 'failure'],
    ['deploy_failed', 'failure'],
    ['cancelled', 'error']
  ]
  const { app, sha, deploy, said } = await setup()
  for (const [status, state] of expected) {
    const id = await deploy(status)
    await report(id)
    const last = said().at(-1)!
    assert.deepEqual(
      [last.sha, last.state, last.context, last.target_url],
      [sha, state, 'rhone/deploy', `https://rhone.example/apps/${app.slug}/deployments/${id}`]
    )
  }
  assert.equal(said()[0]!.description, 'Deployment queued')
})

test('a state that changes during the report is reported, too, so that the newest status wins', async () => {
  const { deploy, said } = await setup()
  const id = await deploy('pending')
  const slow: Github = {
    ...server.github,
    async setStatus(...request) {
      await db.update(deployments).set({ status: 'live' }).where(eq(deployments.id, id))
      return server.github.setStatus(...request)
    }
  }
  await report(id, slow)
  assert.deepEqual(
    said().map(({ state }) => state),
    ['pending', 'success']
  )
})

test('no status is sent for a deployment without a commit, or while the installation is missing or suspended', async () => {
  const { deploy, said, installation, app } = await setup()
  await report(await deploy('live', null))
  await report(crypto.randomUUID())
  installation.suspended_at = new Date().toISOString()
  await report(await deploy('build_failed'))
  await db
    .update(githubInstallations)
    .set({ suspendedAt: new Date() })
    .where(eq(githubInstallations.installationId, installation.id))
  installation.suspended_at = null
  await report(await deploy('build_failed'))
  await db.update(apps).set({ githubInstallationId: null }).where(eq(apps.id, app.id))
  await report(await deploy('build_failed'))
  assert.deepEqual(said(), [])
})

test('a status for an unknown commit is not retried', async () => {
  const { deploy, said } = await setup()
  await report(await deploy('build_failed', 'f'.repeat(40)))
  assert.deepEqual(said(), [])
})

test('if GitHub does not answer, the job fails and is retried', async () => {
  const { deploy, said } = await setup()
  const id = await deploy('live')
  fake.faults.push({ path: '/repos', status: 500, times: 1 })
  await assert.rejects(report(id), { name: 'RemoteError' })
  await report(id)
  assert.equal(said().length, 1)
})
