import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import type { JobQueue } from '../../../plugins/jobs/index.ts'
import type { Config } from '../../config/index.ts'
import { SecretBox } from '../../domain/base/secret-box.ts'
import { createBuildLog } from '../../domain/deployments/build-logs.ts'
import type { DeploymentStatus } from '../../domain/deployments/lifecycle.ts'
import { INSTALLATION_CHANNEL } from '../../domain/github/events.ts'
import { has, registryOf } from '../../kernel/has.ts'
import { deployQueue } from './deploy.ts'
import { type GithubWebhookJob, githubEventsQueue } from './github-events.ts'
import { Ledger } from './ledger.ts'
import logCollector from './log-collector.ts'
import { deploymentMetrics } from './metrics.ts'
import { RECONCILE_QUEUE, reconcileQueue } from './reconcile.ts'
import { webhookRedeliveries } from './redeliveries.ts'
import { sourceFinder } from './source.ts'
import { COMMIT_STATUS, commitStatuses } from './statuses.ts'
import { ClaimWatch } from './watch.ts'

export interface DeployingOptions {
  config: Config
}

/** Turns pushes and requests into running apps. */
export interface Deploying {
  /** Null when no deployer is configured. */
  readonly ledger: Ledger | null
  readonly queues: readonly JobQueue[]
}

declare module 'fastify' {
  interface FastifyInstance {
    deploying: Deploying
  }
}

/** The statuses worth reporting for a commit. */
const REPORTED: ReadonlySet<DeploymentStatus> = new Set([
  'pending',
  'live',
  'build_failed',
  'deploy_failed',
  'cancelled'
])

/** Deployments that one instance works on at a time; local builds share the machine's cores. */
const CONCURRENCY = { local: 2, buildkit: 8, image: 16 } as const

const deploying: FastifyPluginAsync<DeployingOptions> = async (app, { config }) => {
  const canDeploy = has(app, 'builder') && has(app, 'deployer')
  const ledger = canDeploy ? createLedger(app, config) : null
  app.decorate('deploying', {
    ledger,
    queues: [
      ...(ledger ? deployQueues(app, config, ledger) : []),
      githubEvents(app, ledger),
      ...(has(app, 'github') ? githubCalls(app, config) : [])
    ]
  })
  if (ledger === null) return
  await app.register(logCollector, { deployer: app.deployer })
  app.addHook('onReady', async () => void reconcileSoon(app))
  lookWhenLost(app)
}

/** Reconciles at once when the deployer reports its apps lost, instead of at the next minute. */
function lookWhenLost(app: FastifyInstance): void {
  let stop: (() => void) | undefined
  app.addHook('onReady', async () => {
    stop = app.deployer.onLost?.(() => void reconcileSoon(app))
  })
  app.addHook('onClose', async () => stop?.())
}

function createLedger(app: FastifyInstance, config: Config): Ledger {
  return new Ledger({
    db: () => app.db,
    secretBox: new SecretBox(config.keys.encryption!),
    send: (tx, ...job) => app.jobs.send(tx, ...job),
    record: async (tx, event) => app.audit?.recordSystem(tx, event),
    count: deploymentMetrics(registryOf(app).registry).changed,
    async tell(tx, { id, to }) {
      if (has(app, 'github') && REPORTED.has(to))
        await app.jobs.send(tx, COMMIT_STATUS, { deploymentId: id }, { key: id })
    }
  })
}

function deployQueues(app: FastifyInstance, config: Config, ledger: Ledger): JobQueue[] {
  const deps = { db: () => app.db, builder: () => app.builder, deployer: () => app.deployer, jobs: () => app.jobs }
  const watch = new ClaimWatch(() => app.db)
  app.addHook('onReady', async () => watch.listen(app.postgres, () => void reconcileSoon(app)))
  app.addHook('onClose', () => watch.close())
  const deploy = deployQueue({
    ...deps,
    secretBox: new SecretBox(config.keys.encryption!),
    ledger,
    watch,
    openLog: deploymentId => createBuildLog(app.db, deploymentId),
    sourceOf: sourceFinder(app, config.githubUrls.url),
    built: deploymentMetrics(registryOf(app).registry).built,
    concurrency: CONCURRENCY[config.builder ?? 'image']
  })
  return [deploy, reconcileQueue(deps)] as JobQueue[]
}

function githubEvents(app: FastifyInstance, ledger: Ledger | null): JobQueue {
  const queue: JobQueue<GithubWebhookJob> = githubEventsQueue({
    db: () => app.db,
    audit: { recordSystem: async (tx, event) => app.audit?.recordSystem(tx, event) },
    count: outcome => app.webhooks?.count('github', outcome),
    async deploy(tx, { id: appId }, { sha, message, author, branch }) {
      if (ledger === null) return null
      const commit = { commitSha: sha, commitMessage: message, commitAuthor: author, branch }
      return ledger.create(tx, { appId, trigger: 'webhook', triggeredBy: null, ...commit })
    }
  })
  return queue as JobQueue
}

function githubCalls(app: FastifyInstance, { baseUrl }: Config): JobQueue[] {
  forgetChangedInstallations(app)
  const deps = { db: () => app.db, github: app.github }
  return [commitStatuses({ ...deps, baseUrl: baseUrl.origin }) as JobQueue, webhookRedeliveries(deps)]
}

/** Invalidates cached installations on every instance, whichever one received the event. */
function forgetChangedInstallations(app: FastifyInstance): void {
  let stop: (() => Promise<void>) | undefined
  app.addHook('onReady', async () => {
    const forget = (id: string) => app.github.forget(Number(id))
    // Anything missed while the connection was down is cached for a minute at most.
    stop = await app.postgres.listen(INSTALLATION_CHANNEL, forget, () => {})
  })
  app.addHook('onClose', () => stop?.())
}

/** Reconciles as soon as jobs run: at startup, and when apps are deleted. */
async function reconcileSoon(app: FastifyInstance): Promise<void> {
  try {
    await app.startup?.completed
    await app.jobs.send(null, RECONCILE_QUEUE, {})
  } catch (error) {
    app.log.warn({ err: error }, 'apps are not reconciled until the next minute')
  }
}

export default fp(deploying, {
  name: 'rhone-deploying',
  fastify: '5.x',
  decorators: { fastify: ['db', 'postgres'] }
})
