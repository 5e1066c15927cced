import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import { eq } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import { apps, auditLogs, deployments, idempotencyKeys } from '../../drizzle/schema.ts'
import routes, { type RoutesOptions } from '../../routes/index.ts'
import { createToken } from '../../src/domain/accounts/tokens.ts'
import { Ledger } from '../../src/workflows/deploying/ledger.ts'
import { eventually } from '../support/eventually.ts'
import { type Caller, errorOf, platform } from './support.ts'

const sent: { queue: string; data: object; key: string | undefined }[] = []
const IMAGE = `registry.example/team/app@sha256:${'a'.repeat(64)}`

/** The routes of a server with a deployer, but without workers. */
async function withLedger(app: FastifyInstance, options: RoutesOptions) {
  const ledger = new Ledger({
    db: () => app.db,
    secretBox: options.secretBox,
    send: async (_tx, queue, data, { key }) => void sent.push({ queue, data, key }),
    record: (tx, event) => app.audit.recordSystem(tx, event),
    count() {}
  })
  await app.register(routes, { ...options, ledger, takesImages: true, registry: 'registry.ours' })
}

const server = await platform({ after }, { deploying: false, builder: false, deployer: false, routes: withLedger })
const { db } = server.app
const { team, owner, admin, member, stranger } = await server.addPeople()

async function addApp(caller: Caller = owner, source: object = { githubRepo: 'acme/web' }) {
  const app = (await caller.call('POST', '/api/v1/apps', { name: 'deployed' })).json()
  await db.update(apps).set(source).where(eq(apps.id, app.id))
  return { id: app.id as string, slug: app.slug as string, url: `/api/v1/apps/${app.id}` }
}

/** Sets the result that a worker would have produced. */
const become = (id: string, values: Partial<typeof deployments.$inferInsert>) =>
  db.update(deployments).set(values).where(eq(deployments.id, id))

test('POST deploy answers 202 with an unfinished deployment and its location', async () => {
  const app = await addApp()
  const response = await member.call('POST', `${app.url}/deploy`)
  assert.equal(response.statusCode, 202, response.body)
  const deployment = response.json()
  assert.deepEqual(
    [deployment.appId, deployment.status, deployment.trigger, deployment.triggeredBy, deployment.branch],
    [app.id, 'pending', 'api', member.id, 'main']
  )
  assert.equal(response.headers.location, `${app.url}/deployments/${deployment.id}`)
  assert.deepEqual((await member.call('GET', String(response.headers.location))).json(), deployment)
  assert.deepEqual(sent.at(-1), { queue: 'deploy', data: { deploymentId: deployment.id }, key: app.id })
})

test('a deploy that was refused for lack of a source does not use up the burst', async () => {
  const app = await addApp(owner, { githubRepo: null })
  const deploy = (remoteAddress: string) =>
    server.app.inject({
      method: 'POST',
      url: `${app.url}/deploy`,
      remoteAddress,
      headers: { authorization: `Bearer ${owner.token}` }
    })
  for (let count = 0; count < 8; count++) assert.equal((await deploy('198.51.100.9')).statusCode, 409)
  await db.update(apps).set({ githubRepo: 'acme/web' }).where(eq(apps.id, app.id))
  assert.equal((await deploy('198.51.100.9')).statusCode, 202)
})

test('a member may not deploy a commit or branch that is not the app’s, which could read its secrets; an admin may', async () => {
  const app = await addApp()
  const commitSha = 'e'.repeat(40)
  const deploy = (caller: Caller, body: object) => caller.call('POST', `${app.url}/deploy`, body)
  for (const body of [{ commitSha, anyCommit: true }, { anyCommit: true }, { branch: 'refs/pull/1/head' }]) {
    const refused = await deploy(member, body)
    assert.equal(refused.statusCode, 403, JSON.stringify(body))
    assert.equal(errorOf(refused).code, 'FORBIDDEN')
    const accepted = await deploy(admin, body)
    assert.equal(accepted.statusCode, 202, accepted.body)
    assert.equal(accepted.json().config.anyCommit, true)
  }
  const named = await deploy(member, { commitSha, branch: 'main' })
  assert.equal(named.statusCode, 202)
  assert.equal(named.json().config?.anyCommit, undefined, 'so the build checks that it is on the branch')
})

test('a deploy can name a commit, a branch or an image; invalid values are refused by name', async () => {
  const app = await addApp()
  const sha = '0123456789abcdef0123456789abcdef01234567'
  for (const body of [
    { commitSha: sha, branch: 'release/1.0' },
    { commit_sha: sha, branch: 'release/1.0' }
  ]) {
    const { commitSha, branch, image } = (await owner.call('POST', `${app.url}/deploy`, body)).json()
    assert.deepEqual([commitSha, branch, image], [sha, 'release/1.0', null])
  }
  const byImage = (await owner.call('POST', `${app.url}/deploy`, { image: IMAGE })).json()
  assert.deepEqual([byImage.image, byImage.commitSha, byImage.branch], [IMAGE, null, null])

  const before = await db.$count(deployments)
  for (const [field, values] of Object.entries({
    commitSha: ['', 'main', '--upload-pack=x', sha.toUpperCase(), `${sha}\n`, sha.slice(1), 1, null],
    branch: ['', '-x', 'a b', 'a..b', '$(id)\n', 'x'.repeat(256), null],
    image: ['app:latest', '--privileged', `a b@sha256:${'a'.repeat(64)}`, `app@sha256:${'a'.repeat(63)}`, null],
    other: ['x']
  }))
    for (const value of values) {
      const error = errorOf(await owner.call('POST', `${app.url}/deploy`, { [field]: value }))
      assert.equal(error.code, 'VALIDATION_ERROR', `${field} ${value}`)
    }
  assert.equal(await db.$count(deployments), before)
})

test('an app without a source is refused, unless an image is deployed', async () => {
  const app = await addApp(owner, { githubRepo: null })
  const response = await owner.call('POST', `${app.url}/deploy`)
  assert.deepEqual(errorOf(response), { status: 409, code: 'CONFLICT' })
  assert.match(response.json().error.message, /githubRepo/)
  assert.equal((await owner.call('POST', `${app.url}/deploy`, { image: IMAGE })).statusCode, 202)
})

test('the image of another app cannot be deployed by its digest', async () => {
  const app = await addApp()
  await db.update(apps).set({ flyAppId: 'rhone-mine-1' }).where(eq(apps.id, app.id))
  const deploy = async (repository: string) =>
    (await owner.call('POST', `${app.url}/deploy`, { image: `${repository}@sha256:${'b'.repeat(64)}` })).statusCode
  for (const repository of ['rhone-theirs-2', app.slug, 'rhone-mine-1/x', 'rhone-mine-12', 'rhone-mine-1:latest'])
    assert.equal(await deploy(`registry.ours/${repository}`), 400, repository)
  for (const repository of ['registry.ours/rhone-mine-1', 'ghcr.io/acme/web'])
    assert.equal(await deploy(repository), 202)
})

test('the newest deploy wins, even of ten concurrent ones', async () => {
  const app = await addApp()
  const responses = await Promise.all(Array.from({ length: 10 }, () => member.call('POST', `${app.url}/deploy`)))
  assert.deepEqual(new Set(responses.map(({ statusCode }) => statusCode)), new Set([202]))
  const { items } = (await member.call('GET', `${app.url}/deployments`)).json()
  const statuses = items.map(({ status }: { status: string }) => status)
  assert.deepEqual(statuses, ['pending', ...Array(9).fill('cancelled')])
})

test('a repeated request with the same Idempotency-Key deploys once', async () => {
  const app = await addApp()
  const key = { 'idempotency-key': randomUUID() }
  const [first, second] = [
    await owner.call('POST', `${app.url}/deploy`, {}, key),
    await owner.call('POST', `${app.url}/deploy`, {}, key)
  ]
  assert.deepEqual([second.statusCode, second.json()], [202, first.json()])
  assert.equal(await db.$count(deployments, eq(deployments.appId, app.id)), 1)
  assert.ok((await db.$count(idempotencyKeys)) > 0)
})

test('a token needs the scope deploy, and the command line is distinguished from other clients', async () => {
  const app = await addApp()
  const callWith = async (scope: 'read' | 'deploy', headers = {}) => {
    const { token } = await createToken(db, { userId: owner.id, name: scope, scopes: [scope] })
    return server.as(token, 'POST', `${app.url}/deploy`, undefined, headers)
  }
  assert.equal((await callWith('read')).statusCode, 403)
  assert.equal((await callWith('deploy')).json().trigger, 'api')
  assert.equal((await callWith('deploy', { 'user-agent': 'rhone-cli/1.0' })).json().trigger, 'cli')
})

test('a rollback deploys the previously live image as a new deployment', async () => {
  const app = await addApp()
  assert.deepEqual(errorOf(await owner.call('POST', `${app.url}/rollback`)), { status: 409, code: 'CONFLICT' })
  const ids: string[] = []
  for (const [status, image] of [
    ['superseded', 'image-1'],
    ['superseded', 'image-2'],
    ['live', 'image-3']
  ] as const) {
    const { id } = (await owner.call('POST', `${app.url}/deploy`)).json()
    await become(id, { status, image, commitSha: 'f'.repeat(40) })
    ids.push(id)
  }
  for (const [body, to] of [
    [undefined, 1],
    [{ deploymentId: ids[0] }, 0],
    [{ deployment_id: ids[2]!.toUpperCase() }, 2]
  ] as const) {
    const response = await member.call('POST', `${app.url}/rollback`, body)
    assert.equal(response.statusCode, 202, response.body)
    const back = response.json()
    assert.deepEqual(
      [back.trigger, back.rollbackOf, back.image, back.commitSha, back.commitMessage],
      ['rollback', ids[to], `image-${to + 1}`, 'f'.repeat(40), `Rollback to ${ids[to]!.slice(0, 8)}`]
    )
  }
})

test('no deployment of another app or team can be rolled back to, seen or cancelled', async () => {
  const [mine, theirs] = [await addApp(), await addApp(stranger)]
  const { id } = (await stranger.call('POST', `${theirs.url}/deploy`)).json()
  await become(id, { status: 'live', image: 'secret' })
  for (const [caller, method, url, body] of [
    [owner, 'POST', `${mine.url}/rollback`, { deploymentId: id }],
    [owner, 'GET', `${mine.url}/deployments/${id}`],
    [owner, 'POST', `${mine.url}/deployments/${id}/cancel`],
    [owner, 'GET', `${theirs.url}/deployments/${id}`],
    [owner, 'GET', `${theirs.url}/deployments`],
    [owner, 'POST', `${theirs.url}/deployments/${id}/cancel`],
    [owner, 'POST', `${theirs.url}/deploy`],
    [owner, 'POST', `${theirs.url}/rollback`]
  ] as const) {
    const response = await caller.call(method, url, body)
    assert.deepEqual(errorOf(response), { status: 404, code: 'NOT_FOUND' }, `${method} ${url}`)
    assert.ok(!response.body.includes('secret'))
  }
})

test('an unfinished deployment can be cancelled, and a finished one cannot', async () => {
  const app = await addApp()
  const { id } = (await owner.call('POST', `${app.url}/deploy`)).json()
  await become(id, { status: 'building' })
  const cancelled = await member.call('POST', `${app.url}/deployments/${id}/cancel`)
  assert.deepEqual([cancelled.statusCode, cancelled.json().status], [202, 'cancelled'])
  for (const status of ['cancelled', 'live', 'superseded', 'build_failed', 'deploy_failed'] as const) {
    await become(id, { status })
    const again = await member.call('POST', `${app.url}/deployments/${id}/cancel`)
    assert.deepEqual(errorOf(again), { status: 409, code: 'CONFLICT' }, status)
  }
})

test('a failed deployment is returned with 200, the reason and its duration', async () => {
  const app = await addApp()
  const { id } = (await owner.call('POST', `${app.url}/deploy`)).json()
  const at = (seconds: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, seconds))
  await become(id, {
    status: 'deploy_failed',
    errorCode: 'DEPLOY_FAILED',
    errorMessage: 'It does not answer.',
    buildStartedAt: at(0),
    buildFinishedAt: at(30),
    deployStartedAt: at(31),
    deployFinishedAt: at(40),
    envVersions: { API_KEY: 3 },
    config: { region: 'iad', repository: 'https://github.com/acme/web.git' }
  })
  const response = await owner.call('GET', `${app.url}/deployments/${id}`)
  const told = response.json()
  assert.equal(response.statusCode, 200)
  assert.deepEqual(
    [told.errorCode, told.errorMessage, told.buildDurationMs, told.deployDurationMs, told.envVersions, told.config],
    [
      'DEPLOY_FAILED',
      'It does not answer.',
      30_000,
      9_000,
      { API_KEY: 3 },
      { region: 'iad', repository: 'https://github.com/acme/web.git' }
    ]
  )
  assert.ok(!('claim' in told))
})

test('lists come page by page, newest first', async () => {
  const app = await addApp()
  const ids: string[] = []
  for (let i = 0; i < 5; i++) ids.unshift((await owner.call('POST', `${app.url}/deploy`)).json().id)
  const seen: string[] = []
  let url = `${app.url}/deployments?limit=2`
  for (const size of [2, 2, 1]) {
    const { items, nextCursor } = (await owner.call('GET', url)).json()
    assert.equal(items.length, size)
    seen.push(...items.map(({ id }: { id: string }) => id))
    url = `/api/v1/apps/${app.slug}/deployments?limit=2&cursor=${nextCursor}`
  }
  assert.deepEqual(seen, ids)
})

test('deploys, rollbacks and cancellations are in the audit log of the team, even refused ones', async () => {
  const app = await addApp()
  const { id } = (await member.call('POST', `${app.url}/deploy`)).json()
  const second = (await member.call('POST', `${app.url}/deploy`)).json()
  await member.call('POST', `${app.url}/deployments/${second.id}/cancel`)
  await member.call('POST', `${app.url}/rollback`)
  await stranger.call('POST', `${app.url}/deploy`)
  const query = db.select().from(auditLogs).where(eq(auditLogs.teamId, team.id))
  const rows = (
    await eventually(
      () => query.execute(),
      rows => rows.some(({ action, appId }) => action === 'rollback' && appId === app.id)
    )
  ).filter(({ appId, eventType }) => appId === app.id && eventType === 'deployment')
  const about = ({ action, outcome, resourceId, userId, details }: (typeof rows)[number]) =>
    [action, outcome, resourceId, userId, details?.trigger ?? details?.status ?? details?.to].join(' ')
  assert.deepEqual(
    new Set(rows.map(about)),
    new Set([
      `deploy success ${id} ${member.id} api`,
      `advance success ${id}  cancelled`,
      `deploy success ${second.id} ${member.id} api`,
      `cancel success ${second.id} ${member.id} pending`,
      `rollback failure  ${member.id} `
    ])
  )
})

test('deleting an app deletes its deployments, and records that it must be destroyed', async () => {
  const app = await addApp()
  await owner.call('POST', `${app.url}/deploy`)
  assert.equal((await owner.call('DELETE', app.url)).statusCode, 204)
  assert.equal(await db.$count(deployments, eq(deployments.appId, app.id)), 0)
  const rows = await db.execute<{ app_id: string }>('select app_id from app_tombstones')
  assert.ok(rows.some(row => row.app_id === app.id))
})

test('a server without a deployer reports that, and still shows past deployments', async () => {
  const bare = await platform(
    { after },
    {
      deploying: false,
      builder: false,
      deployer: false,
      routes: (app: FastifyInstance, options: RoutesOptions) => app.register(routes, { ...options, ledger: null })
    }
  )
  const { owner } = await bare.addPeople()
  const { id } = (await owner.call('POST', '/api/v1/apps', { name: 'x', githubRepo: 'acme/web' })).json()
  const [row] = await bare.app.db.insert(deployments).values({ appId: id }).returning()
  for (const path of ['deploy', `deployments/${row!.id}/cancel`])
    assert.equal(errorOf(await owner.call('POST', `/api/v1/apps/${id}/${path}`)).code, 'NOT_CONFIGURED', path)
  assert.equal((await owner.call('GET', `/api/v1/apps/${id}/deployments`)).json().items.length, 1)
})
