import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import { asc, eq, sql } from 'drizzle-orm'
import fc from 'fast-check'
import pino from 'pino'
import type { Sql } from 'postgres'
import {
  apps,
  auditLogs,
  deployments,
  githubInstallations,
  type LastPush,
  webhookDeliveries
} from '../../../drizzle/schema.ts'
import type { SystemAuditEvent } from '../../../plugins/audit/index.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import type { Db } from '../../../src/domain/base/db.ts'
import { INSTALLATION_CHANNEL, isNewer } from '../../../src/domain/github/events.ts'
import { deliveryStore } from '../../../src/workflows/deploying/delivery-store.ts'
import {
  type GithubEventsSettings,
  type GithubWebhookJob,
  githubEventsQueue
} from '../../../src/workflows/deploying/github-events.ts'
import { addTeam, openDatabase } from '../../domain/support.ts'
import { eventually } from '../../support/eventually.ts'
import {
  installationDeleted,
  installationSuspended,
  installationUnsuspended,
  NO_COMMIT,
  type PushOf,
  ping,
  push,
  repositoriesRemoved,
  repositoryRenamed,
  sha
} from '../../support/github-deliveries.ts'

const db = await openDatabase({ after } as never)
await db.execute(sql`create table sent_jobs (queue text, data jsonb)`)

/** Jobs that are only recorded, in the transaction of the change they belong to. */
const jobs = {
  async send(tx: Db | null, queue: string, data: object) {
    await (tx ?? db).execute(sql`insert into sent_jobs values (${queue}, ${JSON.stringify(data)}::jsonb)`)
    return randomUUID()
  }
}
const store = deliveryStore(
  () => db,
  () => jobs
)

type Deploy = GithubEventsSettings['deploy']
const deploy: Deploy = async (tx, app, { sha: commitSha, message, branch }) => {
  const [created] = await tx
    .insert(deployments)
    .values({
      appId: app.id,
      trigger: 'webhook',
      commitSha,
      commitMessage: message,
      branch,
      // Not now(), which is when the transaction began: before it waited for another.
      createdAt: sql`clock_timestamp()`
    })
    .returning({ id: deployments.id })
  return created!
}
const audit = {
  async recordSystem(tx: Db | null, { type, details, ...event }: SystemAuditEvent) {
    await tx!.insert(auditLogs).values({ ...event, eventType: type, details: details as Record<string, unknown> })
  }
}
const queueWith = (over: Partial<GithubEventsSettings> = {}) =>
  githubEventsQueue({ db: () => db, deploy, audit, ...over })
const queue = queueWith()

const attempt = (isLastAttempt = false) => ({
  id: randomUUID(),
  attempt: 1,
  isLastAttempt,
  signal: new AbortController().signal,
  log: pino({ level: 'silent' })
})

/** Stores a delivery like the webhook. */
async function deliver(event: string, payload: object): Promise<GithubWebhookJob> {
  const deliveryId = randomUUID()
  await store.keep({ source: 'github', deliveryId, event, payload: Buffer.from(JSON.stringify(payload)) })
  return { source: 'github', deliveryId }
}

/** Stores it, and runs the job. */
async function process(event: string, payload: object): Promise<string | null | undefined> {
  const job = await deliver(event, payload)
  await queue.run(job, attempt())
  return (await storedOf(job))?.outcome
}

async function storedOf({ deliveryId }: GithubWebhookJob) {
  const [found] = await db.select().from(webhookDeliveries).where(eq(webhookDeliveries.deliveryId, deliveryId))
  return found
}

let latestNumber = 1_000
const newNumber = () => ++latestNumber

/** An installation of the GitHub App, bound to its own team. */
async function addInstallation(): Promise<{ installationId: number; teamId: string }> {
  const { id: teamId } = await addTeam(db)
  const installationId = newNumber()
  await db
    .insert(githubInstallations)
    .values({ teamId, installationId, accountType: 'Organization', accountLogin: 'acme', accountId: 7 })
  return { installationId, teamId }
}

type AppOf = { installationId: number; teamId: string } & Partial<typeof apps.$inferInsert>

async function addApp({ installationId, teamId, ...over }: AppOf): Promise<string> {
  const slug = `site-${randomUUID().slice(0, 8)}`
  const [app] = await db
    .insert(apps)
    .values({ teamId, name: 'site', slug, githubRepo: 'acme/site', githubInstallationId: installationId, ...over })
    .returning({ id: apps.id })
  return app!.id
}

async function appOf(id: string) {
  const [app] = await db.select().from(apps).where(eq(apps.id, id))
  return app!
}

/** The commits that were deployed to an app, in order. */
async function deployed(appId: string): Promise<(string | null)[]> {
  const rows = await db
    .select({ commit: deployments.commitSha })
    .from(deployments)
    .where(eq(deployments.appId, appId))
    .orderBy(asc(deployments.createdAt))
  return rows.map(({ commit }) => commit)
}

async function audited(teamId: string): Promise<string[]> {
  const rows = await db.select().from(auditLogs).where(eq(auditLogs.teamId, teamId)).orderBy(asc(auditLogs.createdAt))
  return rows.map(({ resource, action, resourceId, actor }) => `${actor}: ${resource}.${action} ${resourceId}`)
}

/** A separate app, and pushes to it. */
async function repository() {
  const installation = await addInstallation()
  const repoId = newNumber()
  const appId = await addApp({ ...installation, githubRepoId: repoId })
  const pushOf = (over: Partial<PushOf> = {}) => push({ installationId: installation.installationId, repoId, ...over })
  return { ...installation, repoId, appId, pushOf }
}

test('a push is deployed to the app of its repository and branch', async () => {
  const { appId, pushOf } = await repository()
  assert.equal(await process('push', pushOf({ after: sha('1') })), 'processed')
  const [row] = await db.select().from(deployments).where(eq(deployments.appId, appId))
  assert.deepEqual([row?.commitMessage, row?.branch, row?.trigger], ['Say hello', 'main', 'webhook'])
  assert.equal((await appOf(appId)).version, 1, 'which is no change of the app')
})

test('a webhook delivered and processed many times concurrently causes one job and one deployment', async () => {
  const { appId, pushOf } = await repository()
  const payload = Buffer.from(JSON.stringify(pushOf()))
  const job = { source: 'github', deliveryId: randomUUID() } as const
  const kept = await Promise.all(Array.from({ length: 20 }, () => store.keep({ ...job, event: 'push', payload })))
  assert.equal(kept.filter(outcome => outcome === 'new').length, 1)
  const sent = await db.execute(sql`select * from sent_jobs where data->>'deliveryId' = ${job.deliveryId}`)
  assert.deepEqual([...sent], [{ queue: 'github-webhook', data: job }])

  await Promise.all(Array.from({ length: 5 }, () => queue.run(job, attempt())))
  await queue.run(job, attempt())
  assert.deepEqual(await deployed(appId), [sha('after')])
})

test('two webhooks about the same push cause one deployment', async () => {
  const { appId, pushOf } = await repository()
  assert.equal(await process('push', pushOf()), 'processed')
  assert.equal(await process('push', pushOf()), 'ignored')
  assert.equal((await deployed(appId)).length, 1)
})

test('a delivery whose job cannot be added is not stored, so that GitHub delivers it again', async () => {
  const broken = deliveryStore(
    () => db,
    () => ({ send: () => Promise.reject(new Error('no room')) })
  )
  const delivery = { source: 'github', deliveryId: randomUUID(), event: 'ping', payload: Buffer.from('{}') }
  await assert.rejects(broken.keep(delivery), /no room/)
  assert.equal(await store.keep(delivery), 'new')
})

test('a push to someone else’s repository of the same name is not deployed', async () => {
  const ours = await repository()
  const theirs = await addInstallation()
  assert.equal(await process('push', push({ ...theirs, repoId: newNumber(), repo: 'acme/site' })), 'ignored')
  assert.equal(await process('push', push({ ...theirs, repoId: ours.repoId })), 'ignored')
  assert.equal(await process('push', push({ installationId: ours.installationId, repoId: newNumber() })), 'ignored')
  assert.deepEqual(await deployed(ours.appId), [])
})

test('a push is deployed to every app that follows its branch, and to no other', async () => {
  const { installationId, teamId, repoId, appId, pushOf } = await repository()
  const of = { installationId, teamId, githubRepoId: repoId }
  const second = await addApp(of)
  const others = [await addApp({ ...of, githubBranch: 'next' }), await addApp({ ...of, autoDeploy: false })]
  await process('push', pushOf())
  assert.deepEqual(await Promise.all([appId, second].map(deployed)), [[sha('after')], [sha('after')]])
  assert.deepEqual(await Promise.all(others.map(deployed)), [[], []])
  assert.equal(await process('push', pushOf({ branch: "main' or true --" })), 'ignored')
})

test('tags and deleted branches are not deployed', async () => {
  const { appId, pushOf } = await repository()
  assert.equal(await process('push', pushOf({ ref: 'refs/tags/main' })), 'ignored')
  assert.equal(await process('push', pushOf({ deleted: true })), 'ignored')
  assert.deepEqual(await deployed(appId), [])
})

test('an older push that is processed late does not replace a newer one', async () => {
  const { appId, pushOf } = await repository()
  const jobs = [
    await deliver('push', pushOf({ before: sha('0'), after: sha('1') })),
    await deliver('push', pushOf({ before: sha('1'), after: sha('2') })),
    await deliver('push', pushOf({ before: sha('2'), after: sha('3') }))
  ] as const
  for (const job of [jobs[2], jobs[0], jobs[1]]) await queue.run(job, attempt())
  assert.deepEqual(await deployed(appId), [sha('3')])
  const outcomes = (await Promise.all(jobs.map(storedOf))).map(stored => stored?.outcome)
  assert.deepEqual(outcomes, ['ignored', 'ignored', 'processed'])
})

test('an older push that is redelivered after an outage does not replace a newer one', async () => {
  const { appId, pushOf } = await repository()
  await process('push', pushOf({ before: sha('2'), after: sha('3'), pushedAt: 1_795_000_030 }))
  await process('push', pushOf({ before: sha('0'), after: sha('1'), pushedAt: 1_795_000_010 }))
  await process('push', pushOf({ before: sha('1'), after: sha('2'), pushedAt: 1_795_000_020 }))
  assert.deepEqual(await deployed(appId), [sha('3')])
})

test('of ten pushes in one second, processed concurrently in any order, the last one wins', async () => {
  const { appId, pushOf } = await repository()
  const pushes: GithubWebhookJob[] = []
  for (let n = 0; n < 10; n++)
    pushes.push(await deliver('push', pushOf({ before: sha(`${n}`), after: sha(`${n + 1}`) })))
  await Promise.all(pushes.toReversed().map(job => queue.run(job, attempt())))
  assert.equal((await deployed(appId)).at(-1), sha('10'))
})

test('a branch that is reset to an older commit is deployed at that commit', async () => {
  const { appId, pushOf } = await repository()
  const commits = ['1', '2', '1', '3', '1'].map(sha)
  let before = NO_COMMIT
  for (const [n, commit] of commits.entries()) {
    await process('push', pushOf({ before, after: commit, pushedAt: 1_795_000_000 + n }))
    before = commit
  }
  assert.deepEqual(await deployed(appId), commits)
})

test('after a change of its branch, an app deploys the pushes of the new one', async () => {
  const { appId, pushOf } = await repository()
  await process('push', pushOf({ pushedAt: 1_795_000_100 }))
  await db.update(apps).set({ githubBranch: 'next' }).where(eq(apps.id, appId))
  await process('push', pushOf({ branch: 'next', after: sha('next'), pushedAt: 1_795_000_000 }))
  assert.deepEqual(await deployed(appId), [sha('after'), sha('next')])
})

test('pushes may be processed in any order: the newest one is deployed last', () => {
  const heads = fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 2, maxLength: 7 })
  const seeds = fc.array(fc.nat(), { minLength: 7, maxLength: 7 })
  fc.assert(
    fc.property(heads, fc.boolean(), seeds, (commits, isOneSecond, seeds) => {
      // Within one second the clue of GitHub's clock is missing, so that no commit may come back.
      const history = (isOneSecond ? commits.map((_, n) => n) : commits).map((commit, n, all) => ({
        repoId: 1,
        ref: 'refs/heads/main',
        before: n === 0 ? NO_COMMIT : `commit ${all[n - 1]}`,
        after: `commit ${commit}`,
        pushedAt: isOneSecond ? 1_000 : n * 1_000,
        receivedAt: n
      }))
      const processed = history.toSorted((one, other) => seeds[one.receivedAt]! - seeds[other.receivedAt]!)
      let last: LastPush | undefined
      for (const push of processed) if (last === undefined || isNewer(push, last)) last = push
      assert.equal(last, history.at(-1))
    })
  )
})

test('of three clues to which push is newer, two outvote the third', () => {
  const last = { repoId: 1, ref: 'refs/heads/main', before: 'b', after: 'c', pushedAt: 5_000, receivedAt: 50 }
  const follows = { before: 'c', after: 'd' }
  const precedes = { before: 'a', after: 'b' }
  const apart = { before: 'x', after: 'y' }
  const cases: [Partial<LastPush>, boolean][] = [
    [{ ...follows, pushedAt: 5_000, receivedAt: 60 }, true],
    [{ ...follows, pushedAt: 5_000, receivedAt: 40 }, true],
    [{ ...follows, pushedAt: 4_000, receivedAt: 60 }, true],
    [{ ...follows, pushedAt: 4_000, receivedAt: 40 }, false],
    [{ ...precedes, pushedAt: 5_000, receivedAt: 60 }, false],
    [{ ...precedes, pushedAt: 6_000, receivedAt: 40 }, false],
    [{ ...apart, pushedAt: 6_000, receivedAt: 40 }, true],
    [{ ...apart, pushedAt: 4_000, receivedAt: 60 }, false],
    [{ ...apart, pushedAt: null, receivedAt: 60 }, true],
    [{ ...apart, pushedAt: null, receivedAt: 40 }, false],
    [{}, false],
    [{ ref: 'refs/heads/next', pushedAt: 1 }, true],
    [{ repoId: 2, pushedAt: 1 }, true]
  ]
  for (const [over, expected] of cases)
    assert.equal(isNewer({ ...last, ...over }, last), expected, JSON.stringify(over))
})

test('a webhook that fails halfway is rolled back, and the next attempt processes all of it', async () => {
  const { appId, installationId, teamId, repoId, pushOf } = await repository()
  const second = await addApp({ installationId, teamId, githubRepoId: repoId })
  let calls = 0
  const failing = queueWith({
    deploy: async (...args) => {
      if (++calls === 2) throw new Error('connection lost')
      return deploy(...args)
    }
  })
  const job = await deliver('push', pushOf())
  await assert.rejects(failing.run(job, attempt()), /connection lost/)
  assert.deepEqual([await deployed(appId), await deployed(second)], [[], []])
  assert.deepEqual([(await storedOf(job))?.outcome, (await appOf(appId)).lastPush], [null, null])

  await failing.run(job, attempt())
  assert.deepEqual([await deployed(appId), await deployed(second)], [[sha('after')], [sha('after')]])
})

test('a delivery that failed for good is marked as failed, and processed when it is redelivered', async () => {
  const { appId, pushOf } = await repository()
  const outcomes: string[] = []
  const broken = queueWith({
    deploy: () => Promise.reject(new Error('secret of the inside')),
    count: outcome => outcomes.push(outcome)
  })
  const job = await deliver('push', pushOf())
  await assert.rejects(broken.run(job, attempt(true)), /secret/)
  const failed = await storedOf(job)
  assert.equal(failed?.outcome, 'failed')
  assert.doesNotMatch(failed?.error ?? '', /secret/)
  assert.deepEqual(outcomes, ['failed'])

  assert.equal(await store.keep({ ...job, event: 'push', payload: failed!.payload }), 'new')
  await queue.run(job, attempt())
  assert.deepEqual([(await storedOf(job))?.outcome, await deployed(appId)], ['processed', [sha('after')]])
})

test('a push that is refused for one app is still deployed to others', async () => {
  const { installationId, teamId, repoId, appId, pushOf } = await repository()
  const second = await addApp({ installationId, teamId, githubRepoId: repoId })
  const refusing = queueWith({
    deploy: async (tx, app, commit) => {
      const created = await deploy(tx, app, commit)
      if (app.id === appId) throw errors.quotaExceeded('build')
      return created
    }
  })
  const job = await deliver('push', pushOf())
  await refusing.run(job, attempt())
  assert.deepEqual([await deployed(appId), await deployed(second)], [[], [sha('after')]])
  assert.equal((await storedOf(job))?.outcome, 'processed')
})

test('an unknown or irrelevant event is stored and ignored', async () => {
  const outcomes: string[] = []
  const counting = queueWith({ count: outcome => outcomes.push(outcome) })
  for (const [event, payload] of [
    ['ping', ping()],
    ['star', { action: 'created' }],
    ['toString', {}],
    ['installation', { ...installationDeleted(1), action: 'created' }],
    ['installation', installationDeleted(newNumber())],
    ['repository', { ...repositoryRenamed(1, 2, 'acme/x'), action: 'created' }]
  ] as const) {
    const job = await deliver(event, payload)
    await counting.run(job, attempt())
    assert.equal((await storedOf(job))?.outcome, 'ignored', event)
  }
  assert.deepEqual(outcomes, Array(6).fill('ignored'))
})

test('a payload that does not match its event is not retried forever', async () => {
  const job = await deliver('push', { ref: 'refs/heads/main' })
  await queue.run(job, attempt())
  const failed = await storedOf(job)
  assert.equal(failed?.outcome, 'failed')
  assert.match(failed?.error ?? '', /^\/before: /)
})

test('a job whose delivery was deleted does nothing', async () => {
  await queue.run({ source: 'github', deliveryId: randomUUID() }, attempt())
})

test('removing an installation stops the deploys of its apps only', async () => {
  const { installationId, teamId, appId, pushOf } = await repository()
  const other = await addInstallation()
  const untouched = await addApp({ ...other, teamId, githubRepoId: newNumber() })
  await process('push', pushOf())
  assert.equal(await process('installation', installationDeleted(installationId)), 'processed')

  const { autoDeploy, githubInstallationId, version } = await appOf(appId)
  assert.deepEqual([autoDeploy, githubInstallationId, version], [false, null, 2])
  assert.equal((await appOf(untouched)).autoDeploy, true)
  assert.equal(await db.$count(githubInstallations, eq(githubInstallations.installationId, installationId)), 0)
  assert.equal((await deployed(appId)).length, 1, 'the running version continues')
  assert.deepEqual(
    (await audited(teamId)).toSorted(),
    [`GitHub: app.update ${appId}`, `GitHub: installation.remove ${installationId}`].toSorted()
  )
  assert.equal(await process('push', pushOf({ after: sha('later') })), 'ignored')
})

test('a suspension lasts until it is lifted, even if the events arrive in the wrong order', async () => {
  const { installationId, teamId } = await repository()
  const suspendedAt = async () => {
    const ours = eq(githubInstallations.installationId, installationId)
    return (await db.select().from(githubInstallations).where(ours))[0]?.suspendedAt
  }
  const soon = new Date(Date.now() + 60_000)
  await process('installation', installationSuspended(installationId, soon))
  assert.deepEqual(await suspendedAt(), soon)
  await process('installation', installationUnsuspended(installationId, soon))
  assert.equal(await suspendedAt(), null)

  const earlier = new Date(Date.now() - 60_000)
  assert.equal(await process('installation', installationSuspended(installationId, earlier)), 'ignored')
  assert.equal(await suspendedAt(), null)
  assert.deepEqual(await audited(teamId), [
    `GitHub: installation.suspend ${installationId}`,
    `GitHub: installation.unsuspend ${installationId}`
  ])
})

test('repositories removed from an installation are no longer deployed; its others are', async () => {
  const { installationId, teamId, repoId, appId } = await repository()
  const keptId = newNumber()
  const kept = await addApp({ installationId, teamId, githubRepoId: keptId })
  const lost = repositoriesRemoved(installationId, [repoId, 1, 2])
  assert.equal(await process('installation_repositories', lost), 'processed')
  assert.deepEqual([(await appOf(appId)).autoDeploy, (await appOf(kept)).autoDeploy], [false, true])
  assert.deepEqual(await audited(teamId), [`GitHub: app.update ${appId}`])
  assert.equal(await process('installation_repositories', repositoriesRemoved(installationId, [])), 'ignored')
  assert.equal(await process('installation_repositories', repositoriesRemoved(newNumber(), [keptId])), 'ignored')
})

test('a renamed repository is still deployed, by its new name', async () => {
  const { installationId, repoId, appId, pushOf } = await repository()
  const renamed = repositoryRenamed(installationId, repoId, 'acme/brand-new')
  assert.equal(await process('repository', renamed), 'processed')
  assert.equal((await appOf(appId)).githubRepo, 'acme/brand-new')
  assert.equal(await process('repository', renamed), 'ignored')
  assert.equal(await process('push', pushOf()), 'processed')
})

test('a changed installation is evicted from the caches of all instances', async () => {
  const { $client } = db as Db & { $client: Sql }
  const heard: string[] = []
  const { unlisten } = await $client.listen(INSTALLATION_CHANNEL, id => void heard.push(id))
  const { installationId } = await addInstallation()
  await process('installation_repositories', repositoriesRemoved(installationId, [1]))
  await eventually(() => heard.includes(String(installationId)))
  await unlisten()
})
