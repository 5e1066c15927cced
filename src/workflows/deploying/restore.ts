import type { Builder } from '../../../integrations/builder/index.ts'
import { DeployError, type Deployer, type RolloutContext } from '../../../integrations/deployer/index.ts'
import type { JobContext } from '../../../plugins/jobs/index.ts'
import { readSnapshot } from '../../domain/apps/env-snapshot.ts'
import type { Db } from '../../domain/base/db.ts'
import type { SecretBox } from '../../domain/base/secret-box.ts'
import { findLive, hasActive } from '../../domain/deployments/deployments.ts'
import { findWorkedApp, healthCheckOf, nameApp, type WorkedApp } from '../../domain/deployments/work.ts'
import { findTombstone, removeTombstone } from '../../domain/privacy/tombstones.ts'
import { orLeaveBehind } from './leave-behind.ts'

/** Milliseconds for one attempt to restore an app; the app's next deployment waits for it. */
const LIMIT = 10 * 60_000
const PATIENCE = 10_000

export interface RestoreDeps {
  readonly db: () => Db
  readonly secretBox: SecretBox
  readonly deployer: () => Deployer
  readonly builder: () => Builder
}

/** Restores an app, unless a pending deployment will do so. */
export async function restoreApp(deps: RestoreDeps, appId: string, { signal, log }: JobContext): Promise<void> {
  const app = await findWorkedApp(deps.db(), appId)
  if (app === undefined || (await hasActive(deps.db(), appId))) return
  try {
    await restoreLive(deps, app, signal)
  } catch (error) {
    // The app itself is at fault, so an immediate retry would not help.
    if (!(error instanceof DeployError)) throw error
    log.warn({ err: error, appId }, 'what is live of an app does not run')
  }
}

/** Removes what is left of a deleted app. */
export async function destroyApp(deps: RestoreDeps, appId: string, signal: AbortSignal): Promise<void> {
  const { db, deployer, builder } = deps
  const tombstone = await findTombstone(db(), appId)
  if (tombstone === undefined) return
  const { slug, flyAppId } = tombstone
  await deployer().destroy({ id: appId, slug, flyAppId }, signal)
  await builder().prune?.(appId, null)
  await removeTombstone(db(), appId)
}

/** Brings an app to its desired state: the live deployment runs and serves, and no other release is left. */
export async function restoreLive(deps: RestoreDeps, app: WorkedApp, signal: AbortSignal): Promise<void> {
  const limited = AbortSignal.any([signal, AbortSignal.timeout(LIMIT)])
  await orLeaveBehind(bringBack(deps, app, limited), limited, PATIENCE)
}

async function bringBack(deps: RestoreDeps, app: WorkedApp, signal: AbortSignal): Promise<void> {
  const { db, secretBox, deployer } = deps
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
