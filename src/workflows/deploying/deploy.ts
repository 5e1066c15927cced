import type { FastifyBaseLogger } from 'fastify'
import {
  type ArchiveSource,
  type BuildContext,
  BuildError,
  type Builder,
  type BuildSource
} from '../../../integrations/builder/index.ts'
import { DeployError, type Deployer, type Release, type RolloutContext } from '../../../integrations/deployer/index.ts'
import { AttemptEnded, type JobContext, type JobQueue } from '../../../plugins/jobs/index.ts'
import { secretsOfEnv } from '../../../plugins/lib/env-secrets.ts'
import { readBuildEnv, readSnapshot } from '../../domain/apps/env-snapshot.ts'
import type { Db } from '../../domain/base/db.ts'
import { cutAtWord } from '../../domain/base/log-text.ts'
import { redacted } from '../../domain/base/redaction.ts'
import type { SecretBox } from '../../domain/base/secret-box.ts'
import { imagesInUse, isRollingOut } from '../../domain/deployments/deployments.ts'
import { failureOf } from '../../domain/deployments/lifecycle.ts'
import {
  type Claimed,
  ClaimLost,
  claimDeployment,
  findAppOf,
  healthCheckOf,
  nameApp,
  type WorkedApp
} from '../../domain/deployments/work.ts'
import { DEPLOY_QUEUE, type Ledger } from './ledger.ts'
import { orAbandon } from './or-abandon.ts'
import { Restorer } from './restore.ts'
import { uploadedSource } from './source.ts'
import type { ClaimWatch } from './watch.ts'

/** The log of one deployment, shown to its owner. */
export interface DeploymentLog {
  /** Takes program output; secrets in it are masked. */
  say(text: string): void
  /** Takes a line written by Rhone itself. */
  note(line: string): void
  /** Masks this value in the log from now on. */
  hide(secret: string): void
  enter(status: Claimed['status']): void
  /** Resolves once everything is stored. */
  close(): Promise<void>
}

export interface DeployDeps {
  readonly db: () => Db
  readonly secretBox: SecretBox
  readonly ledger: Ledger
  readonly watch: ClaimWatch
  readonly builder: () => Builder
  readonly deployer: () => Deployer
  readonly openLog: (deploymentId: string) => DeploymentLog
  /** The clone source of an app. @throws BuildError when it has none */
  readonly sourceOf: (app: WorkedApp) => Promise<Pick<BuildSource, 'url' | 'authorization' | 'mayReadOurs'>>
  /** Reports the outcome of a build and its duration in seconds. */
  readonly built: (status: 'success' | 'failure' | 'cancelled', seconds: number) => void
  readonly concurrency: number
  /** Milliseconds a builder or deployer has to stop after an abort; 10 seconds by default. */
  readonly patience?: number
}

/** Seconds for one attempt at a deployment: build, start, and retirement of the previous release. */
const TIMEOUT = 45 * 60
const RETRIES = 3
/** Concurrent jobs that need no build; each costs no more than starting a process. */
const EXPRESS_CONCURRENCY = 8
const RETRY_DELAY = 5
const LONGEST_MESSAGE = 500
const LONGEST_ERROR_LOG = 4_000
const PATIENCE = 10_000

/** A deployment to build and roll out, an app to restore, or a deleted app to destroy. */
export type DeployJob = { deploymentId: string } | { restore: string } | { destroy: string }

/** Runs all work on an app's releases, one job at a time per app. */
export function deployQueue(deps: DeployDeps): JobQueue<DeployJob> {
  const restorer = new Restorer(deps)
  return {
    name: DEPLOY_QUEUE,
    concurrency: deps.concurrency,
    expressConcurrency: EXPRESS_CONCURRENCY,
    timeout: TIMEOUT,
    retries: RETRIES,
    retryDelay: RETRY_DELAY,
    serial: true,
    pausedInMaintenance: true,
    async run(data, job) {
      if ('restore' in data) return restorer.restore(data.restore, job)
      if ('destroy' in data) return restorer.destroy(data.destroy, job.signal)
      const claimed = await claimDeployment(deps.db(), data.deploymentId)
      if (claimed !== undefined) {
        try {
          return await new DeployAttempt(deps, restorer, claimed, job).run()
        } finally {
          await removeIfDeleted(restorer, claimed.app.id, job)
        }
      }
      // The deployment is over, but the process that ended it may not have cleaned up its release, or the one it
      // replaced.
      const appId = await findAppOf(deps.db(), data.deploymentId)
      if (appId !== undefined) await restorer.restore(appId, job)
    }
  }
}

/**
 * If an app is deleted during its deployment, the deletion finds the app's queue occupied, so the job in the queue
 * checks again when it leaves.
 */
async function removeIfDeleted(restorer: Restorer, appId: string, { signal, log }: JobContext): Promise<void> {
  try {
    await restorer.destroy(appId, signal)
  } catch (error) {
    log.warn({ err: error, appId }, 'a deleted app could not be removed; it is retried')
  }
}

/** One worker's attempt at a deployment, resuming wherever an earlier attempt stopped. */
class DeployAttempt {
  readonly #deps: DeployDeps
  readonly #restorer: Restorer
  readonly #work: Claimed
  readonly #job: JobContext
  readonly #log: DeploymentLog
  readonly #operatorLog: FastifyBaseLogger
  /** Aborted when the deployment is cancelled or the job must end. */
  readonly #signal: AbortSignal
  readonly #unwatch: () => void
  readonly #secrets = new Set<string>()
  #hasBegunBuild = false

  constructor(deps: DeployDeps, restorer: Restorer, work: Claimed, job: JobContext) {
    this.#deps = deps
    this.#restorer = restorer
    this.#work = work
    this.#job = job
    this.#log = deps.openLog(work.id)
    this.#operatorLog = job.log.child({ deploymentId: work.id, appId: work.app.id })
    const { signal, end } = deps.watch.of(work)
    this.#signal = AbortSignal.any([job.signal, signal])
    this.#unwatch = end
  }

  async run(): Promise<void> {
    try {
      await this.#goOn()
    } catch (error) {
      // A step interrupted by the signal fails because of it.
      await this.#settle(this.#signal.aborted ? this.#signal.reason : error)
    } finally {
      this.#unwatch()
      await this.#log.close()
    }
  }

  async #goOn(): Promise<void> {
    const { ledger } = this.#deps
    const work = this.#work
    if (work.image === null) await this.#build()
    else if (work.status === 'pending') await ledger.advance(work, 'built')
    if (work.status === 'built') {
      this.#log.enter('deploying')
      await ledger.beginRollout(work)
    }
    await this.#rollOut()
  }

  async #build(): Promise<void> {
    const { builder, deployer, ledger, built } = this.#deps
    const { id, app } = this.#work
    const startedAt = performance.now()
    const took = () => (performance.now() - startedAt) / 1_000
    try {
      const isAgain = this.#work.status !== 'pending'
      await this.#enter('cloning')
      if (isAgain) this.#log.note('The build was interrupted and starts again.\n')
      const source = await this.#source()
      const secrets = await readBuildEnv(this.#deps.db(), this.#deps.secretBox, app.id)
      for (const secret of secretsOfEnv(secrets)) this.#hide(secret)
      const context: BuildContext = {
        signal: this.#signal,
        enter: phase => this.#enter(phase),
        say: text => this.#log.say(text),
        note: line => this.#log.note(line),
        hide: secret => this.#hide(secret)
      }
      await this.#bounded(Promise.resolve(deployer().prepare?.(app, this.#rollout())))
      const request = { deploymentId: id, app: this.#work.app, source, secrets }
      const { image, ...commit } = await this.#bounded(builder().build(request, context))
      await ledger.advance(this.#work, 'built', {
        image,
        ...commit,
        config: { ...this.#work.config, region: app.region, ...('url' in source && { repository: source.url }) }
      })
      built('success', took())
    } catch (error) {
      if (error instanceof BuildError && !this.#signal.aborted) built('failure', took())
      else if (this.#signal.reason instanceof ClaimLost) built('cancelled', took())
      throw error
    }
  }

  async #enter(phase: 'cloning' | 'analyzing' | 'building' | 'pushing'): Promise<void> {
    this.#signal.throwIfAborted()
    if (this.#hasBegunBuild && this.#work.status === phase) return
    this.#hasBegunBuild = true
    this.#log.enter(phase)
    await this.#deps.ledger.advance(this.#work, phase)
  }

  async #source(): Promise<BuildSource | ArchiveSource> {
    const { app, branch, commitSha, config, trigger, sourceId } = this.#work
    if (sourceId !== null) return uploadedSource(this.#deps.db(), sourceId)
    const source = await this.#deps.sourceOf(app)
    if (source.authorization !== undefined) this.#hide(source.authorization)
    const wanted = { ...source, branch: branch ?? app.githubBranch }
    if (commitSha === null) return wanted
    // For a push, GitHub's report that the branch had the commit is enough, even if the branch has lost it since.
    const isTrusted = config?.anyCommit === true || trigger === 'webhook'
    return { ...wanted, commitSha, ...(!isTrusted && { within: app.githubBranch }) }
  }

  async #release(): Promise<Release> {
    const { id: deploymentId, app, image, config } = this.#work
    const env = await readSnapshot(this.#deps.db(), this.#deps.secretBox, app.id, deploymentId)
    await this.#deps.ledger.confirm(this.#work) // a finished deployment no longer has an env
    if (env === undefined || image === null) throw new Error('a deployment in its rollout has neither image nor env')
    for (const secret of secretsOfEnv(env)) this.#hide(secret)
    return {
      deploymentId,
      app,
      image,
      env,
      region: config?.region ?? app.region,
      health: healthCheckOf(app)
    }
  }

  async #rollOut(): Promise<void> {
    const { deployer, ledger } = this.#deps
    const work = this.#work
    this.#log.enter('deploying')
    const release = await this.#release()
    await this.#bounded(deployer().start(release, this.#rollout()))
    await ledger.confirm(work)
    // `start` may have named the app.
    await this.#bounded(deployer().serve({ ...release, app: work.app }, this.#rollout()))
    await ledger.promote(work)
    this.#log.note('The new version is live.\n')

    // The release is live whatever happens next; the reconciler retires what this leaves behind.
    await this.#bounded(deployer().retire(work.app, work.id, this.#signal))
    await this.#prune()
  }

  #rollout(): RolloutContext {
    return {
      signal: this.#signal,
      say: line => this.#log.note(line),
      named: async flyAppId => {
        const { app } = this.#work
        await nameApp(this.#deps.db(), app.id, flyAppId, app.flyAppId)
        this.#work.app = { ...app, flyAppId }
      }
    }
  }

  #hide(secret: string): void {
    this.#secrets.add(secret)
    this.#log.hide(secret)
  }

  async #settle(error: unknown): Promise<void> {
    const isLive = this.#work.status === 'live'
    if (isLive)
      return void this.#operatorLog.warn({ err: error }, 'the replaced deployment could not be removed; it is retried')
    if (error instanceof ClaimLost) return this.#backOut()
    if (error instanceof AttemptEnded && error.reason !== 'timeout') throw error

    const failure = this.#explain(error)
    if (failure === undefined) throw error
    await this.#fail(failure).catch(error => {
      if (!(error instanceof ClaimLost)) throw error
    })
    await this.#backOut()
  }

  /** The error as shown to the owner; undefined when a retry may succeed. */
  #explain(error: unknown): { sentence: string; said?: string | undefined } | undefined {
    if (error instanceof BuildError) return { sentence: this.#withReason(error), said: error.said }
    if (error instanceof DeployError) return { sentence: error.message, said: error.said }
    this.#operatorLog.error({ err: error }, 'a deployment attempt failed')
    if (error instanceof AttemptEnded) return { sentence: 'It took too long.' }
    return this.#job.isLastAttempt ? { sentence: 'Something went wrong on our side.' } : undefined
  }

  #withReason({ message, reason }: BuildError): string {
    if (reason === undefined) return message
    return `${message.replace(/\.$/, '')} (${redacted(reason, this.#secrets)}).`
  }

  async #fail({ sentence, said }: { sentence: string; said?: string | undefined }): Promise<void> {
    const status = failureOf(this.#work.status, this.#work.image !== null)
    // The sentence is ours, with at most a few quoted words, which may look like credentials.
    const errorMessage = cutAtWord(redacted(sentence, []), LONGEST_MESSAGE)
    const errorLog = said === undefined ? null : this.#excerpt(said)
    this.#log.note(`${errorMessage}\n`)
    if (status === 'deploy_failed' && errorLog !== null) this.#log.note(`Its last output:\n${errorLog}\n`)
    const errorCode = status === 'build_failed' ? 'BUILD_FAILED' : 'DEPLOY_FAILED'
    await this.#deps.ledger.advance(this.#work, status, { errorCode, errorMessage, errorLog })
  }

  /** Redacts before cutting: half a secret would no longer be recognized. */
  #excerpt(said: string): string {
    const text = redacted(said, this.#secrets, { isCutAtStart: true, isCutAtEnd: true })
    return text.length <= LONGEST_ERROR_LOG ? text : `…${text.slice(1 - LONGEST_ERROR_LOG).toWellFormed()}`
  }

  /** Leaves only the live release running. Only a rollout that has begun can have started anything. */
  async #backOut(): Promise<void> {
    const { status, app, image } = this.#work
    const later = (error: unknown) =>
      this.#operatorLog.warn({ err: error }, 'a deployment could not be undone; it is retried')
    if (status === 'deploying' || status === 'deploy_failed') await this.#restore(app).catch(later)
    if (image !== null) await this.#prune().catch(later)
  }

  /**
   * A rollout still in progress, of this deployment or a newer one, belongs to a worker that has overtaken this one.
   */
  async #restore(app: WorkedApp): Promise<void> {
    if (!(await isRollingOut(this.#deps.db(), app.id))) await this.#restorer.restoreLive(app, this.#job.signal)
  }

  async #prune(): Promise<void> {
    const { builder, db } = this.#deps
    await builder().prune?.(this.#work.app.id, await imagesInUse(db(), this.#work.app.id))
  }

  /** A step that ignores its abort must not block the app: its newest deployment waits for this one to end. */
  #bounded<T>(step: Promise<T>): Promise<T> {
    return orAbandon(step, this.#signal, this.#deps.patience ?? PATIENCE)
  }
}
