import type { FastifyBaseLogger } from 'fastify'
import type { Db } from '../../../drizzle/schema.ts'
import type { Audit, SystemAuditEvent } from '../../../plugins/audit/index.ts'
import type { JobContext, JobQueue } from '../../../plugins/jobs/port.ts'
import { AppError } from '../../../plugins/lib/errors.ts'
import {
  announceInstallation,
  type ChangedApp,
  type ChangedInstallation,
  loseRepositories,
  removeInstallation,
  renameRepository,
  setSuspension,
  takePushedApps
} from '../../domain/github/events.ts'
import {
  installationChangeOf,
  installationIdOf,
  PayloadError,
  type PushedCommit,
  pushOf,
  repositoriesRemovedOf,
  repositoryRenamedOf
} from '../../domain/github/payloads.ts'
import {
  type DeliveryOutcome,
  type StoredDelivery,
  settleDelivery,
  takeDelivery
} from '../../domain/github/webhooks.ts'
import type { App } from '../../domain/teams/access.ts'

export interface GithubWebhookJob {
  readonly source: 'github'
  readonly deliveryId: string
}

export interface GithubEventsSettings {
  readonly db: () => Db
  /**
   * Deploys a commit to an app, in the transaction of the push that brought it, and writes the audit entry.
   *
   * @returns null when there is nothing to deploy
   */
  readonly deploy: (tx: Db, app: App, commit: PushedCommit) => Promise<{ id: string } | null>
  readonly audit: Pick<Audit, 'recordSystem'>
  /** Reports the outcome of each delivery. */
  readonly count?: (outcome: DeliveryOutcome) => void
}

type RecordEvent = (event: Omit<SystemAuditEvent, 'actor'>) => Promise<void>

/** Applies an event. Resolves to whether it changed anything. */
type Effect = (tx: Db, delivery: StoredDelivery, record: RecordEvent, log: FastifyBaseLogger) => Promise<boolean>

/**
 * Applies GitHub events. All effects of a delivery are committed in one transaction with the note that it was
 * processed, so they happen exactly once, or not at all, however often the job runs.
 */
export function githubEventsQueue(settings: GithubEventsSettings): JobQueue<GithubWebhookJob> {
  const { db, audit, count = () => {} } = settings
  const effects: Readonly<{ [event: string]: Effect }> = {
    push: pushed(settings.deploy),
    installation: installationChanged,
    installation_repositories: repositoriesChanged,
    repository: repositoryChanged
  }

  async function process(tx: Db, { source, deliveryId }: GithubWebhookJob, log: FastifyBaseLogger) {
    const delivery = await takeDelivery(tx, { source, deliveryId })
    if (delivery === undefined) return undefined
    const { event } = delivery
    const record: RecordEvent = event => audit.recordSystem(tx, { ...event, actor: 'GitHub' })
    try {
      const effect = Object.hasOwn(effects, event) ? effects[event] : undefined
      if (CHANGES_INSTALLATION.has(event)) await announceInstallation(tx, installationIdOf(delivery.payload))
      const outcome = (await effect?.(tx, delivery, record, log)) ? 'processed' : 'ignored'
      await settleDelivery(tx, delivery, outcome)
      return outcome
    } catch (error) {
      // A retry would fail the same way.
      if (!(error instanceof PayloadError)) throw error
      log.error({ err: error, source, deliveryId, event }, 'a webhook delivery does not match its event type')
      await settleDelivery(tx, delivery, 'failed', error.message)
      return 'failed'
    }
  }

  /** Lets a redelivery be processed again. */
  async function giveUp(job: GithubWebhookJob): Promise<void> {
    await db().transaction(async tx => {
      const delivery = await takeDelivery(tx, job)
      if (delivery !== undefined) await settleDelivery(tx, delivery, 'failed', 'It could not be processed')
    })
    count('failed')
  }

  return {
    name: 'github-webhook',
    concurrency: 4,
    timeout: 60,
    retries: 8,
    retryDelay: 2,
    async run(job: GithubWebhookJob, { isLastAttempt, log }: JobContext) {
      try {
        const outcome = await db().transaction(tx => process(tx, job, log))
        if (outcome !== undefined) count(outcome)
      } catch (error) {
        if (isLastAttempt)
          await giveUp(job).catch(cause =>
            log.error({ err: cause, ...job }, 'a webhook delivery could not be marked as failed')
          )
        throw error
      }
    }
  }
}

function pushed(deploy: GithubEventsSettings['deploy']): Effect {
  return async (tx, { payload, receivedAt }, _record, log) => {
    const push = pushOf(payload)
    if (push === undefined) return false
    let hasDeployed = false
    for (const app of await takePushedApps(tx, push, receivedAt)) {
      try {
        const deployed = await tx.transaction(savepoint => deploy(savepoint, app, push.commit))
        hasDeployed ||= deployed !== null
      } catch (error) {
        // A refusal for one app, because of its plan for example, does not affect the others.
        if (!isRefusal(error)) throw error
        log.warn({ err: error, appId: app.id, commit: push.after }, 'a push was not deployed')
      }
    }
    return hasDeployed
  }
}

/** Events that invalidate what instances cache about an installation. */
const CHANGES_INSTALLATION = new Set(['installation', 'installation_repositories', 'repository'])

const isRefusal = (error: unknown) => error instanceof AppError && !error.isFailure && error.statusCode < 500

/** A new installation has no effect yet: it belongs to a team only once a member has connected it. */
const installationChanged: Effect = async (tx, { payload }, record) => {
  const change = installationChangeOf(payload)
  const { action, installationId } = change
  if (action === 'deleted') {
    const { removed, stopped } = await removeInstallation(tx, installationId)
    if (removed !== undefined) await record(installationEvent('remove', installationId, removed))
    for (const app of stopped) await record(appEvent(app, { autoDeploy: false }))
    return removed !== undefined
  }
  if (action !== 'suspend' && action !== 'unsuspend') return false
  const changed = await setSuspension(tx, change)
  if (changed !== undefined) await record(installationEvent(action, installationId, changed))
  return changed !== undefined
}

const repositoriesChanged: Effect = async (tx, { payload }, record) => {
  const stopped = await loseRepositories(tx, repositoriesRemovedOf(payload))
  for (const app of stopped) await record(appEvent(app, { autoDeploy: false }))
  return stopped.length > 0
}

const repositoryChanged: Effect = async (tx, { payload }, record) => {
  const renamed = repositoryRenamedOf(payload)
  if (renamed === undefined) return false
  const changed = await renameRepository(tx, renamed)
  for (const app of changed) await record(appEvent(app, { githubRepo: renamed.name }))
  return changed.length > 0
}

function appEvent({ id, teamId, name }: ChangedApp, changes: object): Omit<SystemAuditEvent, 'actor'> {
  const details = { ...changes, changed: Object.keys(changes) }
  return {
    type: 'app',
    action: 'update',
    resource: 'app',
    resourceId: id,
    resourceName: name,
    teamId,
    appId: id,
    details
  }
}

function installationEvent(
  action: 'remove' | 'suspend' | 'unsuspend',
  installationId: number,
  { teamId, accountLogin }: ChangedInstallation
): Omit<SystemAuditEvent, 'actor'> {
  const resourceId = String(installationId)
  return { type: 'team', action, resource: 'installation', resourceId, resourceName: accountLogin, teamId }
}
