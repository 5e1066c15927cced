import type { Builder } from '../../../integrations/builder/index.ts'
import { DeployError, type Deployer, type RolloutContext } from '../../../integrations/deployer/index.ts'
import type { JobContext } from '../../../plugins/jobs/index.ts'
import { readSnapshot } from '../../domain/apps/env-snapshot.ts'
import type { Db } from '../../domain/base/db.ts'
import type { SecretBox } from '../../domain/base/secret-box.ts'
import { findLive, hasActive } from '../../domain/deployments/deployments.ts'
import { findWorkedApp, healthCheckOf, nameApp, type WorkedApp } from '../../domain/deployments/work.ts'
import { findTombstone, removeTombstone } from '../../domain/privacy/tombstones.ts'
import { orAbandon } from './or-abandon.ts'

/** Milliseconds for one attempt to restore an app; the app's next deployment waits for it. */
const LIMIT = 10 * 60_000
const PATIENCE = 10_000

export interface RestoreDeps {
  readonly db: () => Db
  readonly secretBox: SecretBox
  readonly deployer: () => Deployer
  readonly builder: () => Builder
}

/** Brings apps to their desired state on the platform. */
export class Restorer {
  readonly #deps: RestoreDeps

  constructor(deps: RestoreDeps) {
    this.#deps = deps
  }

  /** Restores an app, unless a pending deployment will do so. */
  async restore(appId: string, { signal, log }: JobContext): Promise<void> {
    const { db } = this.#deps
    const app = await findWorkedApp(db(), appId)
    if (app === undefined || (await hasActive(db(), appId))) return
    try {
      await this.restoreLive(app, signal)
    } catch (error) {
      // The app itself is at fault, so an immediate retry would not help.
      if (!(error instanceof DeployError)) throw error
      log.warn({ err: error, appId }, 'the live version of an app is not running')
    }
  }

  /** Removes what is left of a deleted app. */
  async destroy(appId: string, signal: AbortSignal): Promise<void> {
    const { db, deployer, builder } = this.#deps
    const tombstone = await findTombstone(db(), appId)
    if (tombstone === undefined) return
    const { slug, flyAppId } = tombstone
    await deployer().destroy({ id: appId, slug, flyAppId }, signal)
    await builder().prune?.(appId, null)
    await removeTombstone(db(), appId)
  }

  /** The live deployment runs and serves, and no other release is left. */
  async restoreLive(app: WorkedApp, signal: AbortSignal): Promise<void> {
    const limited = AbortSignal.any([signal, AbortSignal.timeout(LIMIT)])
    await orAbandon(this.#bringBack(app, limited), limited, PATIENCE)
  }

  async #bringBack(app: WorkedApp, signal: AbortSignal): Promise<void> {
    const { db, secretBox, deployer } = this.#deps
    const current = (await findWorkedApp(db(), app.id)) ?? app
    const live = await findLive(db(), app.id)
    const env = live && (await readSnapshot(db(), secretBox, app.id, live.id))
    if (live?.image && env !== undefined) {
      const release = {
        deploymentId: live.id,
        app: current,
        image: live.image,
        env,
        region: live.config?.region ?? current.region,
        health: healthCheckOf(current)
      }
      const context: RolloutContext = {
        signal,
        say: () => {}, // the deployment and its log are over
        named: flyAppId => nameApp(db(), app.id, flyAppId, current.flyAppId)
      }
      await deployer().start(release, context)
      await deployer().serve(release, context)
    }
    await deployer().retire(current, live?.id ?? null, signal)
  }
}
