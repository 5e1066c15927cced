import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eq } from 'drizzle-orm'
import fc from 'fast-check'
import { deploymentSecrets, deployments } from '../../../drizzle/schema.ts'
import { BuildError } from '../../../integrations/builder/index.ts'
import { DeployError } from '../../../integrations/deployer/index.ts'
import { AttemptEnded } from '../../../plugins/jobs/index.ts'
import { deleteApp } from '../../../src/domain/apps/apps.ts'
import { findRollbackTarget } from '../../../src/domain/deployments/deployments.ts'
import { isActive } from '../../../src/domain/deployments/lifecycle.ts'
import { type Moment, type TestJob, type TestPlatform, testPlatform, type Worker } from '../../support/deploying.ts'
import { eventually } from '../../support/eventually.ts'
import { thoroughly } from '../../support/thorough.ts'

const EVENTS = ['deploy', 'roll back', 'cancel', 'reconcile', 'lose the jobs', 'lose what runs'] as const
type Event = (typeof EVENTS)[number]

/** The disturbances of a worker at a step. */
const DISTURBANCES = ['kill', 'stop', 'fail', 'fault', 'deploy', 'cancel', 'hang'] as const
/** `overtake`: it is presumed dead, so others finish its work before it resumes unaware of that. */
type Disturbance = (typeof DISTURBANCES)[number] | 'overtake' | null

interface Schedule {
  readonly events: readonly Event[]
  /** One for each step that is come to, in order; none after them. */
  readonly disturbances: readonly Disturbance[]
}

const schedulesOf = (disturbances: readonly Disturbance[]): fc.Arbitrary<Schedule> =>
  fc.record({
    events: fc.array(
      fc.oneof(
        { weight: 4, arbitrary: fc.constant<Event>('deploy') },
        { weight: 5, arbitrary: fc.constantFrom(...EVENTS) }
      ),
      { minLength: 1, maxLength: 6 }
    ),
    disturbances: fc.array(
      fc.oneof(
        { weight: 3, arbitrary: fc.constant<Disturbance>(null) },
        { weight: 2, arbitrary: fc.constantFrom<Disturbance>(...disturbances) }
      ),
      { maxLength: 25 }
    )
  })

/** One app, through a schedule. */
class Run {
  readonly #platform: TestPlatform
  readonly #appId: string
  readonly #disturbances: Disturbance[]
  #ending = new AbortController()
  #job: TestJob | undefined
  /** Actions of other workers, which may take over meanwhile. */
  readonly #overtaking = new Map<Worker, Promise<unknown>>()

  constructor(platform: TestPlatform, appId: string, disturbances: readonly Disturbance[]) {
    this.#platform = platform
    this.#appId = appId
    this.#disturbances = [...disturbances]
    platform.world.disturb = moment => this.#meet(moment)
  }

  async happen(event: Event): Promise<void> {
    const platform = this.#platform
    if (event === 'deploy') await platform.create(this.#appId)
    else if (event === 'roll back') await this.#rollBack()
    else if (event === 'cancel') await this.#cancel()
    else if (event === 'reconcile') await platform.reconcile()
    else if (event === 'lose the jobs') await platform.jobs.lose()
    else platform.world.apps.delete(this.#appId)
    await this.work()
  }

  /** Runs all jobs to their end, each attempt in its own simulated process. */
  async work(): Promise<void> {
    const { jobs } = this.#platform
    for (let job = await jobs.take(); job !== undefined; job = await jobs.take()) {
      this.#ending = new AbortController()
      this.#job = job
      const worker = await this.#platform.newWorker()
      await this.#platform.attempt(job, worker, this.#ending)
      await this.#overtaking.get(worker)
      await worker.watch.close()
    }
  }

  async #meet({ step, worker, signal }: Moment): Promise<void> {
    const disturbance = this.#disturbances.shift() ?? null
    if (disturbance === 'kill') worker.kill()
    if (disturbance === 'stop') this.#ending.abort(new AttemptEnded('stopping'))
    if (disturbance === 'fail') throw new Error('the network is down')
    if (disturbance === 'fault') throw step === 'build' ? new BuildError('no') : new DeployError('no')
    if (disturbance === 'deploy') await this.#platform.create(this.#appId)
    if (disturbance === 'cancel') await this.#cancel()
    if (disturbance === 'overtake') await this.#overtake(worker)
    if (disturbance === 'hang' && signal !== undefined) {
      // A user cancels it; a job that cannot be cancelled ends when the server stops.
      await this.#cancel()
      await eventually(() => signal.aborted, Boolean, 200).catch(() => {})
      this.#ending.abort(new AttemptEnded('stopping'))
    }
    signal?.throwIfAborted()
  }

  async #overtake(worker: Worker): Promise<void> {
    const [job, ending] = [this.#job!, this.#ending]
    await this.#platform.jobs.settle(job, 'retrying')
    const others = this.work()
    this.#overtaking.set(worker, Promise.all([this.#overtaking.get(worker), others]))
    await others
    this.#job = job
    this.#ending = ending
  }

  async #cancel(): Promise<void> {
    const { db, ledger } = this.#platform
    const rows = await db.select().from(deployments).where(eq(deployments.appId, this.#appId))
    const active = rows.find(({ status }) => isActive(status))
    if (active !== undefined) await db.transaction(tx => ledger.cancel(tx, active))
  }

  async #rollBack(): Promise<void> {
    try {
      const { id, image } = await findRollbackTarget(this.#platform.db, this.#appId)
      await this.#platform.create(this.#appId, { trigger: 'rollback', image, rollbackOf: id })
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'CONFLICT')
    }
  }
}

async function assertSettled({ db, world }: TestPlatform, appId: string): Promise<void> {
  const rows = await db.select().from(deployments).where(eq(deployments.appId, appId)).orderBy(deployments.createdAt)
  const live = rows.filter(({ status }) => status === 'live')
  const story = rows.map(({ status }) => status).join(' ')
  assert.deepEqual(
    rows.filter(({ status }) => isActive(status)),
    [],
    `a deployment was lost: ${story}`
  )
  assert.ok(live.length <= 1, story)
  const wanted = live[0]?.id
  assert.deepEqual(
    world.runningOf(appId),
    { releases: wanted === undefined ? [] : [wanted], serving: wanted ?? null },
    `what runs is not what is live: ${story}`
  )
  if (rows.some(({ status }) => status === 'superseded')) assert.equal(live.length, 1, story)
  const newestThatServed = rows.findLast(({ status }) => status === 'live' || status === 'superseded')
  assert.equal(newestThatServed?.id, wanted, `an older one is live: ${story}`)

  const ids = rows.map(({ id }) => id)
  const sealed = (await db.select().from(deploymentSecrets)).filter(({ deploymentId }) => ids.includes(deploymentId))
  assert.deepEqual(
    sealed.map(({ deploymentId }) => deploymentId),
    wanted === undefined ? [] : [wanted]
  )
  const running = live[0] && world.apps.get(appId)?.releases.get(live[0].id)
  assert.equal(running?.image, live[0]?.image ?? undefined)
}

test('after any disturbance of a worker at any step, exactly one version ends up live and running', async t => {
  const platform = await testPlatform(t)
  await fc.assert(
    fc.asyncProperty(schedulesOf([...DISTURBANCES, 'overtake']), async ({ events, disturbances }) => {
      const { id } = await platform.addApp()
      const run = new Run(platform, id, disturbances)
      for (const event of events) await run.happen(event)
      // In the end, all that is left to itself.
      platform.world.disturb = () => {}
      for (let round = 0; round < 2; round++) {
        await platform.reconcile()
        await run.work()
      }
      await assertSettled(platform, id)
    }),
    { numRuns: thoroughly(30, 200), endOnFailure: true }
  )
})

test('no disturbance of workers stops a serving version', async t => {
  const platform = await testPlatform(t)
  await fc.assert(
    fc.asyncProperty(schedulesOf(DISTURBANCES), async ({ events, disturbances }) => {
      const { id } = await platform.addApp()
      platform.world.disturb = () => {}
      await platform.create(id)
      await platform.workOff()
      const run = new Run(platform, id, disturbances)
      for (const event of events.filter(event => event !== 'lose what runs')) {
        await run.happen(event)
        assert.notEqual(platform.world.runningOf(id).serving, null, event)
      }
      assert.ok(!platform.world.outages.includes(id))
    }),
    { numRuns: thoroughly(20, 150), endOnFailure: true }
  )
})

test('a deleted app leaves nothing running, after any disturbance of a worker at any step', async t => {
  const platform = await testPlatform(t)
  await fc.assert(
    fc.asyncProperty(schedulesOf([...DISTURBANCES, 'overtake']), async ({ events, disturbances }) => {
      const app = await platform.addApp()
      const run = new Run(platform, app.id, disturbances)
      for (const event of events) await run.happen(event)
      await platform.create(app.id)
      await platform.db.transaction(tx => deleteApp(tx, app as never))
      await run.work()
      platform.world.disturb = () => {}
      await platform.reconcile()
      await run.work()
      assert.deepEqual(platform.world.runningOf(app.id), { releases: [], serving: null })
      assert.equal(platform.world.images.get(app.id)?.size ?? 0, 0)
    }),
    { numRuns: thoroughly(10, 80), endOnFailure: true }
  )
})
