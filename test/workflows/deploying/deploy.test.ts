import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { Registry } from '@platformatic/prom-client'
import { eq } from 'drizzle-orm'
import { apps, deploymentSecrets, deployments } from '../../../drizzle/schema.ts'
import { BuildError } from '../../../integrations/builder/index.ts'
import { DeployError } from '../../../integrations/deployer/index.ts'
import { AttemptEnded } from '../../../plugins/jobs/index.ts'
import { deleteApp } from '../../../src/domain/apps/apps.ts'
import { setEnvVar } from '../../../src/domain/apps/env-vars.ts'
import { findDeployment, findRollbackTarget, type NewDeployment } from '../../../src/domain/deployments/deployments.ts'
import { deploymentMetrics } from '../../../src/workflows/deploying/metrics.ts'
import { type Disturbance, type Moment, type TestPlatform, testPlatform } from '../../support/deploying.ts'
import { eventually } from '../../support/eventually.ts'

type Step = Moment['step']

/** Disturbs a worker the first time it reaches a step. */
function onceAt(step: Step, when: Moment['when'], work: Disturbance): Disturbance {
  let isDone = false
  return moment => {
    if (isDone || moment.step !== step || moment.when !== when) return
    isDone = true
    return work(moment)
  }
}

const fail = (error: Error) => () => {
  throw error
}

/** Blocks until it is aborted. */
const hang: Disturbance = async ({ signal }) => {
  if (!signal!.aborted) await once(signal!, 'abort')
  throw signal!.reason
}

async function deployed(platform: TestPlatform) {
  const app = await platform.addApp()
  const first = await platform.create(app.id)
  await platform.workOff()
  assert.equal(await platform.statusOf(first.id), 'live')
  return { app, first }
}

test('a worker that lost its claim removes nothing of its successor, for any failure', async t => {
  const platform = await testPlatform(t)
  const { app } = await deployed(platform)
  const second = await platform.create(app.id)
  const job = (await platform.jobs.take())!
  const [stale, fresh] = [await platform.newWorker(), await platform.newWorker()]
  const [stalled, wake] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  platform.world.disturb = onceAt('start', 'after', async () => {
    stalled.resolve()
    await wake.promise
    throw new DeployError('It does not answer on its port.')
  })
  const overtaken = platform.attempt(job, stale)
  await stalled.promise
  platform.world.disturb = onceAt('start', 'after', async () => {
    wake.resolve()
    await overtaken.catch(() => {})
    assert.ok(platform.world.runningOf(app.id).releases.includes(second.id))
  })
  await platform.attempt(job, fresh)
  assert.equal(await platform.statusOf(second.id), 'live')
})

test('a first deployment is built, started, serves, and becomes live', async t => {
  const platform = await testPlatform(t)
  const { app, first } = await deployed(platform)
  assert.deepEqual(platform.world.runningOf(app.id), { releases: [first.id], serving: first.id })
  const row = await findDeployment(platform.db, app.id, first.id)
  assert.equal(row.image, `image-of-${first.id}`)
  assert.deepEqual([row.commitSha, row.commitMessage, row.commitAuthor], ['c'.repeat(40), 'Change it', 'Ada'])
  assert.deepEqual(row.config, { region: 'iad', repository: 'https://git.example/app.git' })
  for (const at of [row.buildStartedAt, row.buildFinishedAt, row.deployStartedAt, row.deployFinishedAt]) assert.ok(at)
  const [named] = await platform.db.select().from(apps)
  assert.equal(named?.flyAppId, `fly-${named?.slug}`)
  const way = platform.counted.map(({ to }) => to)
  assert.deepEqual(way, ['pending', 'cloning', 'analyzing', 'building', 'pushing', 'built', 'deploying', 'live'])
  const audited = platform.audited.map(({ action, teamId, details }) => [action, teamId, details?.to])
  assert.deepEqual(
    audited,
    way.slice(1).map(to => ['advance', app.teamId, to])
  )
})

test('a deployment started by a push has its own audit row, since no request caused it', async t => {
  const platform = await testPlatform(t)
  const app = await platform.addApp()
  const commit = { commitSha: 'd'.repeat(40), commitMessage: '$(rm -rf /) <b>', branch: 'main' }
  const { id } = await platform.create(app.id, { trigger: 'webhook', ...commit })
  const [event] = platform.audited
  assert.deepEqual(
    [event?.type, event?.action, event?.resourceId, event?.teamId, event?.details?.commitSha],
    ['deployment', 'deploy', id, app.teamId, commit.commitSha]
  )
})

test('a deploy has no downtime: the old version serves until the new one does, and is then stopped', async t => {
  const platform = await testPlatform(t)
  const { app, first } = await deployed(platform)
  const seen: unknown[] = []
  platform.world.disturb = ({ step, when }) => {
    if (step !== 'prune') seen.push([step, when, platform.world.runningOf(app.id).serving === first.id ? 'old' : 'new'])
  }
  const second = await platform.create(app.id)
  await platform.workOff()
  assert.deepEqual(seen, [
    ['build', 'before', 'old'],
    ['build', 'after', 'old'],
    ['start', 'before', 'old'],
    ['start', 'after', 'old'],
    ['serve', 'before', 'old'],
    ['serve', 'after', 'new'],
    ['retire', 'before', 'new'],
    ['retire', 'after', 'new']
  ])
  assert.deepEqual(platform.world.outages, [])
  assert.deepEqual(platform.world.runningOf(app.id), { releases: [second.id], serving: second.id })
  assert.deepEqual([await platform.statusOf(first.id), await platform.statusOf(second.id)], ['superseded', 'live'])
})

test('a failed build keeps the old version serving, tells its owner why, and is not retried', async t => {
  const platform = await testPlatform(t)
  const { app, first } = await deployed(platform)
  platform.world.disturb = onceAt(
    'build',
    'before',
    fail(new BuildError(`It broke. ${'and '.repeat(500)}`, { said: `npm ERR! \0${'x'.repeat(5_000)}` }))
  )
  const second = await platform.create(app.id)
  await platform.workOff()
  const row = await findDeployment(platform.db, app.id, second.id)
  assert.deepEqual([row.status, row.errorCode], ['build_failed', 'BUILD_FAILED'])
  assert.match(row.errorMessage!, /^It broke\. (?:and )+and…$/)
  assert.ok(row.errorMessage!.length <= 500)
  assert.match(row.errorLog!, /^…x{3999}$/)
  assert.deepEqual(platform.world.runningOf(app.id), { releases: [first.id], serving: first.id })
})

test('app output in error messages is redacted before it is truncated, but our own words never are', async t => {
  const platform = await testPlatform(t)
  const app = await platform.addApp()
  const secret = `sk-${'0123456789abcdef'.repeat(4)}`
  for (const [name, value] of [
    ['CREDENTIALS', secret],
    ['PASSWORD', 'ended'],
    ['APP_ENV', 'production']
  ] as const)
    await setEnvVar(platform.db, platform.secretBox, app.id, name, value)
  const said = `${secret.slice(-32)} is ${secret}; production has ended ${'x'.repeat(3_950)}`
  platform.world.disturb = onceAt('start', 'after', fail(new DeployError('The app exited with code 1.', { said })))
  const { id } = await platform.create(app.id)
  await platform.workOff()
  const { errorMessage, errorLog } = await findDeployment(platform.db, app.id, id)
  assert.equal(errorMessage, 'The app exited with code 1.')
  assert.match(errorLog!, /\*\*\*; production has \*\*\* x{3950}$/)
  for (const text of [errorLog!, platform.world.logs.get(id)!])
    for (let from = 0; from + 8 <= secret.length; from++) assert.ok(!text.includes(secret.slice(from, from + 8)))
})

for (const step of ['start', 'serve'] as const)
  for (const when of ['before', 'after'] as const)
    test(`a rollout that fails ${when} its ${step} keeps the old version serving, and removes the new one`, async t => {
      const platform = await testPlatform(t)
      const { app, first } = await deployed(platform)
      platform.world.disturb = onceAt(step, when, fail(new DeployError('It does not answer on its port.')))
      const second = await platform.create(app.id)
      await platform.workOff()
      const row = await findDeployment(platform.db, app.id, second.id)
      assert.deepEqual(
        [row.status, row.errorCode, row.errorMessage],
        ['deploy_failed', 'DEPLOY_FAILED', 'It does not answer on its port.']
      )
      assert.deepEqual(platform.world.runningOf(app.id), { releases: [first.id], serving: first.id })
      assert.deepEqual(platform.world.outages, [])
      const secrets = await platform.db.select().from(deploymentSecrets)
      assert.deepEqual(
        secrets.map(({ deploymentId }) => deploymentId),
        [first.id]
      )
    })

test('each deployment counts once in rhone_deployments_total, on any path', async t => {
  const registry = new Registry()
  const { changed } = deploymentMetrics(registry)
  assert.match(await registry.metrics(), /rhone_builds_total\{status="failure"\} 0\n/)
  assert.match(await registry.metrics(), /rhone_deployments_total\{status="live",trigger="api"\} 0\n/)
  const platform = await testPlatform(t)
  const { app } = await deployed(platform)
  await platform.create(app.id)
  await platform.create(app.id)
  await platform.workOff()
  for (const change of platform.counted) changed(change as Parameters<typeof changed>[0])
  const { values } = await registry.getSingleMetric('rhone_deployments_total')!.get()
  const told = values.filter(({ value }) => value > 0).map(({ labels: { status }, value }) => [status, value])
  assert.deepEqual(Object.fromEntries(told), { live: 2, cancelled: 1 })
})

test('a requested commit must be on the branch of the app, unless it was pushed there or an admin allows it', async t => {
  const platform = await testPlatform(t)
  const app = await platform.addApp()
  const commitSha = 'e'.repeat(40)
  const within = async (request: Partial<NewDeployment>) => {
    await platform.create(app.id, request)
    await platform.workOff()
    const source = platform.world.builds.at(-1)?.source
    return source && 'within' in source ? source.within : undefined
  }
  assert.equal(await within({ commitSha }), 'main')
  assert.equal(await within({ commitSha, branch: 'feature' }), 'main')
  assert.equal(await within({ commitSha, trigger: 'webhook' }), undefined)
  assert.equal(await within({ commitSha, config: { region: 'iad', anyCommit: true } }), undefined)
  assert.equal(await within({}), undefined)
})

test('internal failures are retried and not shown to users', async t => {
  const platform = await testPlatform(t)
  const app = await platform.addApp()
  let failures = 2
  platform.world.disturb = ({ step }) => {
    if (step === 'start' && failures-- > 0) throw new Error('ECONNREFUSED 10.0.0.1:4280')
  }
  const first = await platform.create(app.id)
  await platform.workOff()
  assert.equal(await platform.statusOf(first.id), 'live')
  assert.equal(platform.world.builds.length, 1, 'what was built is not built again')

  platform.world.disturb = ({ step }) => {
    if (step === 'start') throw new Error('ECONNREFUSED 10.0.0.1:4280')
  }
  const second = await platform.create(app.id)
  await platform.workOff()
  const row = await findDeployment(platform.db, app.id, second.id)
  assert.equal(row.status, 'deploy_failed')
  assert.doesNotMatch(row.errorMessage! + platform.world.logs.get(second.id), /ECONNREFUSED|10\.0/)
})

test('a worker that is killed at any step loses no deployment: the next one continues from there', async t => {
  const platform = await testPlatform(t)
  for (const step of ['build', 'start', 'serve', 'retire', 'prune'] as const)
    for (const when of ['before', 'after'] as const) {
      const { app, first } = await deployed(platform)
      const second = await platform.create(app.id)
      platform.world.disturb = onceAt(step, when, ({ worker }) => worker.kill())
      await platform.workOff()
      await platform.reconcile()
      await platform.workOff()
      const at = `${when} ${step}`
      assert.equal(await platform.statusOf(second.id), 'live', at)
      const isBuiltAgain = platform.world.logs.get(second.id)!.includes('The build was interrupted and starts again.')
      assert.equal(isBuiltAgain, step === 'build', at)
      assert.equal(await platform.statusOf(first.id), 'superseded', at)
      assert.deepEqual(platform.world.runningOf(app.id), { releases: [second.id], serving: second.id }, at)
    }
  assert.deepEqual(platform.world.outages, [])
})

test('a release that a killed worker left after the deployment ended is stopped by the next one', async t => {
  const platform = await testPlatform(t)
  const replaced = await deployed(platform)
  const second = await platform.create(replaced.app.id)
  platform.world.disturb = onceAt('retire', 'before', ({ worker }) => worker.kill())
  await platform.workOff()
  assert.equal(await platform.statusOf(second.id), 'live')
  assert.deepEqual(platform.world.runningOf(replaced.app.id), { releases: [second.id], serving: second.id })

  const { app, first } = await deployed(platform)
  const cancelled = await platform.create(app.id)
  platform.world.disturb = onceAt('serve', 'after', async ({ worker }) => {
    await platform.db.transaction(tx => platform.ledger.cancel(tx, cancelled))
    worker.kill()
  })
  await platform.workOff()
  assert.equal(await platform.statusOf(cancelled.id), 'cancelled')
  assert.deepEqual(platform.world.runningOf(app.id), { releases: [first.id], serving: first.id })
  assert.deepEqual(platform.world.outages, [])
})

test('a stopping server hands its deployments over: none is marked as failed', async t => {
  const platform = await testPlatform(t)
  for (const step of ['build', 'start', 'serve'] as const) {
    const { app } = await deployed(platform)
    const second = await platform.create(app.id)
    const ending = new AbortController()
    platform.world.disturb = onceAt(step, 'before', moment => {
      ending.abort(new AttemptEnded('stopping'))
      return hang(moment)
    })
    const job = await platform.jobs.take()
    const worker = await platform.newWorker()
    await platform.attempt(job!, worker, ending)
    await worker.watch.close()
    assert.ok(['cloning', 'deploying'].includes((await platform.statusOf(second.id))!), step)
    await platform.workOff()
    assert.equal(await platform.statusOf(second.id), 'live', step)
    assert.deepEqual(platform.world.runningOf(app.id).serving, second.id)
  }
})

test('hanging deployments can be cancelled: the build is aborted at once, and the live version keeps serving', async t => {
  const platform = await testPlatform(t)
  for (const step of ['build', 'start', 'serve'] as const) {
    const { app, first } = await deployed(platform)
    const second = await platform.create(app.id)
    platform.world.disturb = onceAt(step, 'before', async moment => {
      await platform.db.transaction(tx => platform.ledger.cancel(tx, second))
      if (!moment.signal!.aborted) await once(moment.signal!, 'abort')
      throw moment.signal!.reason
    })
    await platform.workOff()
    assert.equal(await platform.statusOf(second.id), 'cancelled')
    assert.deepEqual(platform.world.runningOf(app.id), { releases: [first.id], serving: first.id }, step)
  }
})

test('a build that ignores its cancellation does not block others', async t => {
  const platform = await testPlatform(t)
  const app = await platform.addApp()
  const first = await platform.create(app.id)
  platform.world.disturb = onceAt('build', 'before', async () => {
    await platform.create(app.id)
    await new Promise(() => {})
  })
  await platform.workOff()
  assert.equal(await platform.statusOf(first.id), 'cancelled')
  const [, second] = await platform.db.select().from(deployments).orderBy(deployments.createdAt)
  assert.equal(second?.status, 'live')
})

test('a rollout cancelled after it started to serve returns the requests to the old version', async t => {
  const platform = await testPlatform(t)
  const { app, first } = await deployed(platform)
  const second = await platform.create(app.id)
  platform.world.disturb = onceAt('serve', 'after', () =>
    platform.db.transaction(async tx => void (await platform.ledger.cancel(tx, second)))
  )
  await platform.workOff()
  assert.equal(await platform.statusOf(second.id), 'cancelled')
  assert.deepEqual(platform.world.runningOf(app.id), { releases: [first.id], serving: first.id })
})

test('deleting an app during a deployment ends the deployment, and leaves nothing running', async t => {
  const platform = await testPlatform(t)
  for (const step of ['build', 'start', 'serve'] as const) {
    const { app } = await deployed(platform)
    await platform.create(app.id)
    platform.world.disturb = onceAt(step, 'before', async moment => {
      await platform.db.transaction(tx => deleteApp(tx, app as never))
      await hang(moment)
    })
    // There is no later check: the job that ends the deployment removes the app.
    await platform.workOff()
    assert.deepEqual(platform.world.runningOf(app.id), { releases: [], serving: null }, step)
    assert.equal(platform.world.images.get(app.id)?.size, 0)
  }
})

test('ten pushes in one second: the last one is live, the rest are cancelled', async t => {
  const platform = await testPlatform(t)
  const { app } = await deployed(platform)
  let pushed = Promise.withResolvers<void>()
  let waiting = 0
  // Each step lasts until the next push.
  platform.world.disturb = async ({ signal }) => {
    waiting += 1
    await Promise.race([pushed.promise, ...(signal?.aborted === false ? [once(signal, 'abort')] : [])])
    waiting -= 1
    signal?.throwIfAborted()
  }
  const working = platform.create(app.id).then(() => platform.workOff())
  for (let push = 0; push < 10; push++) {
    await eventually(() => waiting > 0)
    await platform.create(app.id)
    pushed.resolve()
    if (push < 9) pushed = Promise.withResolvers()
  }
  await working
  await platform.workOff()
  const rows = await platform.db
    .select()
    .from(deployments)
    .where(eq(deployments.appId, app.id))
    .orderBy(deployments.createdAt)
  const statuses = rows.map(({ status }) => status)
  assert.equal(statuses.at(-1), 'live')
  assert.ok(
    statuses.slice(0, -1).every(status => status === 'cancelled' || status === 'superseded'),
    statuses.join()
  )
  assert.deepEqual(platform.world.runningOf(app.id), { releases: [rows.at(-1)!.id], serving: rows.at(-1)!.id })
  assert.deepEqual(platform.world.outages, [])
})

test('two instances share the work, but never on the same app', async t => {
  const platform = await testPlatform(t)
  const all = await Promise.all(Array.from({ length: 4 }, () => platform.addApp()))
  const busy = new Map<string, number>()
  platform.world.disturb = async ({ appId, when }) => {
    const now = (busy.get(appId) ?? 0) + (when === 'before' ? 1 : -1)
    assert.ok(now <= 1, 'two at once')
    busy.set(appId, now)
    await platform.statusOf(appId) // time for others
  }
  for (const { id } of all) for (let i = 0; i < 3; i++) await platform.create(id)
  await Promise.all([platform.workOff(), platform.workOff()])
  for (const { id } of all) {
    const { releases, serving } = platform.world.runningOf(id)
    assert.deepEqual(releases, [serving])
    assert.equal(await platform.statusOf(serving!), 'live')
  }
})

test('a worker presumed dead changes nothing when it resumes: another one has continued', async t => {
  const platform = await testPlatform(t)
  for (const step of ['build', 'start', 'serve'] as const) {
    const { app } = await deployed(platform)
    const second = await platform.create(app.id)
    const asleep = Promise.withResolvers<void>()
    const woken = Promise.withResolvers<void>()
    platform.world.disturb = onceAt(step, 'after', async () => {
      asleep.resolve()
      await woken.promise
    })
    const job = (await platform.jobs.take())!
    const sleeper = await platform.newWorker()
    const sleeping = platform.attempt(job, sleeper)
    await asleep.promise
    await platform.attempt({ ...job, attempt: 2 }, await platform.newWorker())
    assert.equal(await platform.statusOf(second.id), 'live', step)
    const before = platform.world.runningOf(app.id)
    woken.resolve()
    await sleeping
    assert.equal(await platform.statusOf(second.id), 'live', step)
    assert.deepEqual(platform.world.runningOf(app.id), before, step)
    assert.deepEqual(before, { releases: [second.id], serving: second.id })
    await sleeper.watch.close()
  }
})

test('a worker that loses its claim does not disturb its successor', async t => {
  const platform = await testPlatform(t)
  const { app } = await deployed(platform)
  const second = await platform.create(app.id)
  const job = (await platform.jobs.take())!
  const sleeper = await platform.newWorker()
  const woken = Promise.withResolvers<void>()
  const asleep = Promise.withResolvers<void>()
  platform.world.disturb = onceAt('start', 'after', async () => {
    asleep.resolve()
    await woken.promise
  })
  const sleeping = platform.attempt(job, sleeper)
  await asleep.promise
  platform.world.disturb = onceAt('serve', 'before', async () => {
    woken.resolve()
    await sleeping
  })
  await platform.attempt({ ...job, attempt: 2 }, await platform.newWorker())
  assert.equal(await platform.statusOf(second.id), 'live')
  assert.deepEqual(platform.world.runningOf(app.id), { releases: [second.id], serving: second.id })
})

test('a deployment uses the env vars from the start of its rollout, and records their versions', async t => {
  const platform = await testPlatform(t)
  const app = await platform.addApp()
  const set = (key: string, value: string, buildTime?: boolean) =>
    setEnvVar(platform.db, platform.secretBox, app.id, key, value, buildTime)
  await set('SECRET', 'one')
  await set('NPM_TOKEN', 'for builds', true)
  const first = await platform.create(app.id)
  platform.world.disturb = onceAt('build', 'before', async () => void (await set('SECRET', 'two')))
  await platform.workOff()
  assert.deepEqual(platform.world.builds[0]?.secrets, { NPM_TOKEN: 'for builds' })
  const release = () => platform.world.apps.get(app.id)?.releases.get(first.id)
  assert.deepEqual(release()?.env, { SECRET: 'two', NPM_TOKEN: 'for builds' })
  assert.deepEqual((await findDeployment(platform.db, app.id, first.id)).envVersions, { SECRET: 2, NPM_TOKEN: 1 })

  await set('SECRET', 'three')
  platform.world.apps.clear()
  await platform.reconcile()
  await platform.workOff()
  assert.deepEqual(release()?.env, { SECRET: 'two', NPM_TOKEN: 'for builds' }, 'started again, it is what it was')
})

test('a rollback deploys the earlier image with the current env vars, without a build', async t => {
  const platform = await testPlatform(t)
  const { app, first } = await deployed(platform)
  await platform.create(app.id)
  await platform.workOff()
  await setEnvVar(platform.db, platform.secretBox, app.id, 'NEW', 'value')
  const { id, image } = await findRollbackTarget(platform.db, app.id)
  assert.equal(id, first.id)
  const back = await platform.create(app.id, { trigger: 'rollback', image, rollbackOf: id })
  await platform.workOff()
  assert.equal(platform.world.builds.length, 2)
  const release = platform.world.apps.get(app.id)?.releases.get(back.id)
  assert.deepEqual([release?.image, release?.env], [`image-of-${first.id}`, { NEW: 'value' }])
  assert.equal(await platform.statusOf(back.id), 'live')
})

test('images that cannot be rolled back to are removed, including those of failed rollouts', async t => {
  const platform = await testPlatform(t)
  const { app } = await deployed(platform)
  const images = platform.world.images.get(app.id)!
  for (let i = 0; i < 14; i++) {
    await platform.create(app.id)
    await platform.workOff()
  }
  assert.equal(images.size, 11, 'the live one and ten to go back to')
  for (let i = 0; i < 3; i++) {
    platform.world.disturb = onceAt('serve', 'before', fail(new DeployError('no')))
    await platform.create(app.id)
    await platform.workOff()
  }
  assert.equal(images.size, 11)
})

test('the clean-up keeps the images of all versions that can be rolled back to', async t => {
  const platform = await testPlatform(t)
  const { app, first } = await deployed(platform)
  for (let i = 0; i < 12; i++) {
    await platform.create(app.id)
    await platform.workOff()
  }
  const all = await platform.db.select().from(deployments).orderBy(deployments.createdAt)
  await assert.rejects(findRollbackTarget(platform.db, app.id, first.id), {
    code: 'CONFLICT',
    message: /no longer kept/
  })
  const oldest = await findRollbackTarget(platform.db, app.id, all[2]!.id)
  const back = await platform.create(app.id, { trigger: 'rollback', image: oldest.image, rollbackOf: oldest.id })
  await platform.workOff()
  assert.equal(await platform.statusOf(back.id), 'live')
})
