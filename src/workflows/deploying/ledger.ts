import type { DeploymentStatus } from '../../../drizzle/schema.ts'
import type { SystemAuditEvent } from '../../../plugins/audit/index.ts'
import type { SendOptions } from '../../../plugins/jobs/index.ts'
import { snapshotEnv } from '../../domain/apps/env-snapshot.ts'
import type { Db } from '../../domain/base/db.ts'
import type { SecretBox } from '../../domain/base/secret-box.ts'
import {
  cancelDeployment,
  type Deployment,
  type DeploymentChange,
  type DeploymentLedger,
  insertDeployment,
  type NewDeployment
} from '../../domain/deployments/deployments.ts'
import { advance, type Claimed, confirmClaim, promote } from '../../domain/deployments/work.ts'

export const DEPLOY_QUEUE = 'deploy'

export interface LedgerDeps {
  readonly db: () => Db
  readonly secretBox: SecretBox
  /** Adds a job in the caller's transaction. */
  readonly send: (tx: Db, queue: string, data: object, options: SendOptions) => Promise<unknown>
  /** Writes an audit log row in the same transaction. */
  readonly record: (tx: Db, event: SystemAuditEvent) => Promise<void>
  readonly count: (change: Pick<DeploymentChange, 'trigger' | 'to'>) => void
  /** Called with every change, in its transaction, to notify external systems. */
  readonly tell?: (tx: Db, change: Pick<DeploymentChange, 'id' | 'to'>) => Promise<void>
}

const ACTOR = 'deployer'

/** Records every deployment change, each in one transaction with all its consequences. */
export class Ledger implements DeploymentLedger {
  readonly #deps: LedgerDeps

  constructor(deps: LedgerDeps) {
    this.#deps = deps
  }

  /** Creates a deployment in the caller's transaction. Requests are audited where they are handled. */
  async create(tx: Db, request: NewDeployment): Promise<Deployment> {
    const { deployment, teamId, cancelled } = await insertDeployment(tx, request)
    for (const change of cancelled) await this.#note(tx, change)
    await this.work(tx, deployment)
    const begun = { ...deployment, teamId, to: deployment.status }
    if (request.trigger === 'webhook') await this.#record(tx, begun, 'deploy', { ...deployment })
    this.#deps.count(begun)
    await this.#deps.tell?.(tx, begun)
    return deployment
  }

  /** Queues a deployment for a worker. Idempotent. */
  async work(tx: Db, { id, appId, image }: Pick<Deployment, 'id' | 'appId' | 'image'>): Promise<void> {
    // Without a build, as in a rollback, it does not wait for builds of other apps.
    await this.#deps.send(tx, DEPLOY_QUEUE, { deploymentId: id }, { key: appId, id, express: image !== null })
  }

  /** @throws AppError when the deployment is already over */
  async cancel(tx: Db, deployment: Deployment): Promise<Deployment> {
    const change = await cancelDeployment(tx, deployment)
    this.#deps.count(change)
    await this.#deps.tell?.(tx, change)
    return { ...deployment, status: 'cancelled' }
  }

  /** @throws ClaimLost */
  async advance(work: Claimed, to: DeploymentStatus, learnt: Parameters<typeof advance>[3] = {}): Promise<void> {
    await this.#deps.db().transaction(async tx => this.#note(tx, await advance(tx, work, to, learnt)))
    work.status = to
    work.image = learnt.image ?? work.image
    work.config = learnt.config ?? work.config
  }

  /** Begins the rollout with the app's current env and settings, which it keeps. @throws ClaimLost */
  async beginRollout(work: Claimed): Promise<void> {
    const { id, app } = work
    await this.#deps.db().transaction(async tx => {
      const envVersions = await snapshotEnv(tx, this.#deps.secretBox, app.id, id)
      const config = { ...work.config, region: app.region }
      await this.#note(tx, await advance(tx, work, 'deploying', { envVersions, config }))
    })
    work.status = 'deploying'
  }

  /** @throws ClaimLost */
  async promote(work: Claimed): Promise<void> {
    await this.#deps.db().transaction(async tx => {
      for (const change of await promote(tx, work)) await this.#note(tx, change)
    })
    work.status = 'live'
  }

  /** @throws ClaimLost */
  confirm(work: Claimed): Promise<void> {
    return confirmClaim(this.#deps.db(), work)
  }

  async #note(tx: Db, change: DeploymentChange): Promise<void> {
    const { from, to } = change
    await this.#record(tx, change, 'advance', { from, to })
    this.#deps.count(change)
    await this.#deps.tell?.(tx, change)
  }

  #record(tx: Db, of: Pick<DeploymentChange, 'id' | 'appId' | 'teamId'>, action: string, details: object) {
    const { id: resourceId, appId, teamId } = of
    const subject = { resource: 'deployment', resourceId, teamId, appId }
    return this.#deps.record(tx, { actor: ACTOR, type: 'deployment', action, ...subject, details: { ...details } })
  }
}
