import { randomBytes } from 'node:crypto'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import type { FastifyBaseLogger } from 'fastify'
import { pino } from 'pino'
import postgres from 'postgres'
import * as schema from '../../drizzle/schema.ts'
import type { BuildContext, Builder, BuildRequest, BuiltImage } from '../../integrations/builder/index.ts'
import type { DeployedApp, Deployer, Release, RolloutContext, Running } from '../../integrations/deployer/index.ts'
import type { SystemAuditEvent } from '../../plugins/audit/index.ts'
import type { JobFilters, JobQueue, Jobs, ListedJob, SendOptions } from '../../plugins/jobs/index.ts'
import { createApp } from '../../src/domain/apps/apps.ts'
import type { Db } from '../../src/domain/base/db.ts'
import { SecretBox } from '../../src/domain/base/secret-box.ts'
import type { Deployment, NewDeployment } from '../../src/domain/deployments/deployments.ts'
import { deployQueue } from '../../src/workflows/deploying/deploy.ts'
import { Ledger } from '../../src/workflows/deploying/ledger.ts'
import { deploymentMetrics } from '../../src/workflows/deploying/metrics.ts'
import { reconcileQueue } from '../../src/workflows/deploying/reconcile.ts'
import { ClaimWatch } from '../../src/workflows/deploying/watch.ts'
import { addTeam } from '../domain/support.ts'
import { freshDatabase, type Scope } from './database.ts'

/* A platform without machines: builds and apps are map entries, everything else is real. Every external action of a
 * worker can be disturbed, before and after it takes effect.
 */

/** The points at which a worker can be disturbed. */
export interface Moment {
  readonly step: 'build' | 'start' | 'serve' | 'retire' | 'destroy' | 'prune'
  readonly when: 'before' | 'after'
  readonly appId: string
  readonly worker: Worker
  /** Of the step, where it can be cut off. */
  readonly signal?: AbortSignal
}

export type Disturbance = (moment: Moment) => Promise<void> | void

interface RunningApp {
  readonly releases: Map<string, Release>
  serving: string | null
}

/** The built images and running releases; workers come and go. */
export class World {
  readonly apps = new Map<string, RunningApp>()
  /** The images there are, by app. */
  readonly images = new Map<string, Set<string>>()
  /** The deployments that started to serve, in order. */
  readonly served: string[] = []
  /** Apps with a gap in serving. */
  readonly outages: string[] = []
  readonly logs = new Map<string, string>()
  readonly builds: BuildRequest[] = []
  disturb: Disturbance = () => {}

  keep(deploymentId: string, text: string): void {
    this.logs.set(deploymentId, (this.logs.get(deploymentId) ?? '') + text)
  }

  runningOf(appId: string): { releases: string[]; serving: string | null } {
    const app = this.apps.get(appId)
    return { releases: [...(app?.releases.keys() ?? [])], serving: app?.serving ?? null }
  }

  everything(): Running[] {
    return [...this.apps].flatMap(([appId, { releases, serving }]) =>
      [...releases.keys()].map(deploymentId => ({
        appId,
        deploymentId,
        flyAppId: null,
        isServing: serving === deploymentId,
        isHealthy: true
      }))
    )
  }
}

/** A simulated Rhone process that can be killed: afterwards its actions have no effect. */
export class Worker {
  readonly deploy: JobQueue<object>
  readonly reconcile: JobQueue<object>
  readonly watch: ClaimWatch
  #isDead = false

  constructor(platform: TestPlatform) {
    const { world, db, secretBox, ledgerDeps, jobs } = platform
    const alive = <Value>(value: Value): Value => {
      if (this.#isDead) throw new Killed()
      return value
    }
    this.watch = new ClaimWatch(() => alive(db))
    const deps = {
      db: () => alive(db),
      secretBox,
      builder: () => alive(new MapBuilder(world, this)),
      deployer: () => alive(new MapDeployer(world, this)),
      jobs: () => alive(jobs)
    }
    this.deploy = deployQueue({
      ...deps,
      ledger: new Ledger({ ...ledgerDeps, db: deps.db }),
      watch: this.watch,
      openLog: deploymentId => ({
        say: text => world.keep(deploymentId, text),
        note: line => world.keep(deploymentId, line),
        hide() {},
        enter() {},
        async close() {}
      }),
      sourceOf: async () => ({ url: 'https://git.example/app.git' }),
      built: platform.metrics.built,
      concurrency: 2,
      patience: 100
    }) as JobQueue<object>
    this.reconcile = reconcileQueue(deps)
  }

  get isDead(): boolean {
    return this.#isDead
  }

  kill(): never {
    this.#isDead = true
    throw new Killed()
  }
}

/** The error of a killed process. */
class Killed extends Error {
  constructor() {
    super('killed')
  }
}

class MapBuilder implements Builder {
  readonly name = 'map'
  readonly #world: World
  readonly #worker: Worker

  constructor(world: World, worker: Worker) {
    this.#world = world
    this.#worker = worker
  }

  async build(request: BuildRequest, { signal, enter, say }: BuildContext): Promise<BuiltImage> {
    const moment = { step: 'build', appId: request.app.id, worker: this.#worker, signal } as const
    await this.#world.disturb({ ...moment, when: 'before' })
    for (const phase of ['analyzing', 'building', 'pushing'] as const) {
      signal.throwIfAborted()
      await enter(phase)
      say(`${phase}\n`)
    }
    this.#world.builds.push(request)
    const image = `image-of-${request.deploymentId}`
    imagesOf(this.#world, request.app.id).add(image)
    await this.#world.disturb({ ...moment, when: 'after' })
    return { image, commitSha: 'c'.repeat(40), commitMessage: 'Change it', commitAuthor: 'Ada' }
  }

  async prune(appId: string, keep: readonly string[] | null): Promise<void> {
    await this.#world.disturb({ step: 'prune', when: 'before', appId, worker: this.#worker })
    const images = imagesOf(this.#world, appId)
    for (const image of images) if (!keep?.includes(image)) images.delete(image)
    await this.#world.disturb({ step: 'prune', when: 'after', appId, worker: this.#worker })
  }
}

class MapDeployer implements Deployer {
  readonly name = 'map'
  readonly #world: World
  readonly #worker: Worker

  constructor(world: World, worker: Worker) {
    this.#world = world
    this.#worker = worker
  }

  urlOf(app: DeployedApp): string {
    return `http://${app.slug}.localhost/`
  }

  async start(release: Release, { signal, named }: RolloutContext): Promise<void> {
    const { app, deploymentId } = release
    if (app.flyAppId === null) await named(`fly-${app.slug}`)
    await this.#step('start', app, signal, () => {
      const images = imagesOf(this.#world, app.id)
      if (!images.has(release.image)) throw new Error(`there is no image ${release.image}`)
      this.#appOf(app).releases.set(deploymentId, release)
    })
  }

  async serve({ app, deploymentId }: Release, { signal }: RolloutContext): Promise<void> {
    await this.#step('serve', app, signal, () => {
      const running = this.#appOf(app)
      if (!running.releases.has(deploymentId)) throw new Error('a release that does not run cannot serve')
      if (running.serving !== deploymentId) this.#world.served.push(deploymentId)
      running.serving = deploymentId
    })
  }

  async retire(app: DeployedApp, keep: string | null, signal: AbortSignal): Promise<void> {
    await this.#step('retire', app, signal, () => {
      const running = this.#world.apps.get(app.id)
      if (running === undefined) return
      for (const id of running.releases.keys()) if (id !== keep) running.releases.delete(id)
      if (running.serving === null || running.releases.has(running.serving)) return
      running.serving = null
      this.#world.outages.push(app.id)
    })
  }

  async destroy(app: DeployedApp, signal: AbortSignal): Promise<void> {
    await this.#step('destroy', app, signal, () => void this.#world.apps.delete(app.id))
  }

  async running(): Promise<readonly Running[]> {
    return this.#world.everything()
  }

  logs(): never {
    throw new Error('simulated apps have no logs')
  }

  metrics(): never {
    throw new Error('simulated apps have no metrics')
  }

  async #step(step: Moment['step'], { id: appId }: DeployedApp, signal: AbortSignal, effect: () => void) {
    const moment = { step, appId, worker: this.#worker, signal }
    await this.#world.disturb({ ...moment, when: 'before' })
    signal.throwIfAborted()
    effect()
    await this.#world.disturb({ ...moment, when: 'after' })
  }

  #appOf({ id }: DeployedApp): RunningApp {
    const found = this.#world.apps.get(id) ?? { releases: new Map(), serving: null }
    this.#world.apps.set(id, found)
    return found
  }
}

function imagesOf({ images }: World, appId: string): Set<string> {
  const found = images.get(appId) ?? new Set()
  images.set(appId, found)
  return found
}

export interface TestJob {
  readonly id: string
  readonly queue: string
  readonly key: string | null
  readonly data: object
  readonly attempt: number
}

/** Jobs of a serial queue, in a table of the test's database: they run only on request. */
export class JobTable implements Pick<Jobs, 'send' | 'list'> {
  readonly #db: Db

  constructor(db: Db) {
    this.#db = db
  }

  async create(): Promise<void> {
    await this.#db.execute(sql`create table test_jobs (
      position int generated always as identity, id uuid primary key default gen_random_uuid(), queue text not null,
      key text, data jsonb not null, state text not null default 'waiting', attempt int not null default 0)`)
  }

  async send(tx: Db | null, queue: string, data: object, { key, id }: SendOptions = {}) {
    const rows = await (tx ?? this.#db).execute<{ id: string }>(sql`
      insert into test_jobs (queue, key, data, id)
      values (${queue}, ${key ?? null}, ${JSON.stringify(data)}, coalesce(${id ?? null}::uuid, gen_random_uuid()))
      on conflict do nothing returning id`)
    return rows[0]?.id ?? null
  }

  async list({ queue, state }: JobFilters): Promise<ListedJob[]> {
    const rows = await this.#db.execute(
      sql`select * from test_jobs where queue = ${queue ?? null} and state = ${state ?? null}`
    )
    return rows as unknown as ListedJob[]
  }

  /** Takes the next job whose app has none in progress. */
  async take(): Promise<TestJob | undefined> {
    const rows = await this.#db.execute(sql`
      update test_jobs set state = 'active', attempt = attempt + 1 where id = (
        select id from test_jobs as next where state in ('waiting', 'retrying')
          and not exists (select from test_jobs as other where other.key = next.key and other.state = 'active')
        order by position limit 1 for update skip locked)
      returning id, queue, key, data, attempt`)
    return rows[0] as TestJob | undefined
  }

  async settle({ id }: TestJob, state: 'completed' | 'retrying' | 'dead'): Promise<void> {
    await this.#db.execute(sql`update test_jobs set state = ${state} where id = ${id}`)
  }

  /** Loses all jobs that have not started, as after a restore of the table. */
  async lose(): Promise<void> {
    await this.#db.execute(sql`delete from test_jobs where state <> 'active'`)
  }
}

const silent = pino({ level: 'silent' }) as unknown as FastifyBaseLogger

export class TestPlatform {
  readonly db: Db
  readonly world = new World()
  readonly secretBox: SecretBox
  readonly jobs: JobTable
  readonly audited: SystemAuditEvent[] = []
  readonly counted: { trigger: string; to: string }[] = []
  readonly metrics = deploymentMetrics(undefined)
  /** Connects a watch to deployment notifications, like the server. */
  readonly listen: (watch: ClaimWatch, onGone?: () => void) => void

  constructor(db: Db, listen: TestPlatform['listen']) {
    this.db = db
    this.jobs = new JobTable(db)
    this.listen = listen
    const key = randomBytes(32)
    this.secretBox = new SecretBox({ current: { id: 'k1', key }, keys: new Map([['k1', key]]) })
  }

  get ledgerDeps() {
    return {
      db: () => this.db,
      secretBox: this.secretBox,
      send: (tx: Db, queue: string, data: object, options: object) => this.jobs.send(tx, queue, data, options),
      record: async (_tx: Db, event: SystemAuditEvent) => void this.audited.push(event),
      count: (change: { trigger: string; to: string }) => void this.counted.push(change)
    }
  }

  get ledger(): Ledger {
    return new Ledger(this.ledgerDeps)
  }

  async addApp(): Promise<{ id: string; teamId: string }> {
    const team = await addTeam(this.db)
    return createApp(this.db, team.id, { name: 'app' })
  }

  create(appId: string, request: Partial<NewDeployment> = {}): Promise<Deployment> {
    const fields = { appId, trigger: 'manual', triggeredBy: null, branch: 'main', ...request } as const
    return this.db.transaction(tx => this.ledger.create(tx, fields))
  }

  async newWorker(): Promise<Worker> {
    const worker = new Worker(this)
    this.listen(worker.watch)
    return worker
  }

  /** Tries a job once on an instance that may be killed, and puts it back if it did not finish. */
  async attempt(job: TestJob, worker: Worker, ending = new AbortController()): Promise<void> {
    const isLastAttempt = job.attempt > worker.deploy.retries
    const context = { id: job.id, attempt: job.attempt, isLastAttempt, signal: ending.signal, log: silent }
    try {
      await worker.deploy.run(job.data, context)
      await this.jobs.settle(job, worker.isDead || ending.signal.aborted ? 'retrying' : 'completed')
    } catch {
      const isOver = isLastAttempt && !worker.isDead && !ending.signal.aborted
      await this.jobs.settle(job, isOver ? 'dead' : 'retrying')
    }
  }

  /** Runs all jobs, each in its own simulated process. */
  async workOff(): Promise<void> {
    for (let job = await this.jobs.take(); job !== undefined; job = await this.jobs.take()) {
      const worker = await this.newWorker()
      await this.attempt(job, worker)
      await worker.watch.close()
    }
  }

  async reconcile(): Promise<void> {
    const worker = await this.newWorker()
    const context = { id: '', attempt: 1, isLastAttempt: true, signal: new AbortController().signal, log: silent }
    await worker.reconcile.run({}, context)
    await worker.watch.close()
  }

  async statusOf(id: string): Promise<string | undefined> {
    const [row] = await this.db.execute<{ status: string }>(sql`select status from deployments where id = ${id}`)
    return row?.status
  }
}

export async function testPlatform(scope: Scope): Promise<TestPlatform> {
  const client = postgres(await freshDatabase(scope), { max: 8, onnotice: () => {} })
  const watches: ClaimWatch[] = []
  scope.after(async () => {
    for (const watch of watches) await watch.close()
    await client.end({ timeout: 1 })
  })
  const db = drizzle({ client, schema, casing: 'snake_case' })
  const platform = new TestPlatform(db, (watch, onGone) => {
    const listen = async (channel: string, onNotify: (payload: string) => void, onResync: () => void) => {
      const { unlisten } = await client.listen(channel, onNotify, onResync)
      return unlisten
    }
    watch.listen({ listen }, onGone)
    watches.push(watch)
  })
  await platform.jobs.create()
  return platform
}
