import type { Builder } from '../../../integrations/builder/index.ts'
import { DeployError, type Deployer, type RolloutContext } from '../../../integrations/deployer/index.ts'
import type { JobContext } from '../../../plugins/jobs/index.ts'
import { readSnapshot } from '../../domain/apps/env-snapshot.ts'
import type { Db } from '../../domain/base/db.ts'
import type { SecretBox } from '../../domain/base/secret-box.ts'
import { findLive, hasActive } from '../../domain/deployments/deployments.ts'
import { findWorkedApp, nameApp, type WorkedApp } from '../../domain/deployments/work.ts'
import { findTombstone, removeTombstone } from '../../domain/privacy/tombstones.ts'
import { orLeaveBehind } from './leave-behind.ts'

/** Milliseconds for one attempt at setting an app right: whatever is deployed next of it waits for its end. */
const LIMIT = 10 * 60_000
const PATIENCE = 10_000

export interface RestoreDeps {
  readonly db: () => Db
  readonly secretBox: SecretBox
  readonly deployer: () => Deployer
  readonly builder: () => Builder
}

/** Sets an app right, unless a deployment is on its way that will do so. */
export async function restoreApp(deps: RestoreDeps, appId: string, { signal, log }: JobContext): Promise<void> {
  const app = await findWorkedApp(deps.db(), appId)
  if (app === undefined || (await hasActive(deps.db(), appId))) return
  try {
    await restoreLive(deps, app, signal)
  } catch (error) {
    // It is the app's own fault, of which trying again at once makes nothing better.
    if (!(error instanceof DeployError)) throw error
    log.warn({ err: error, appId }, 'what is live of an app does not run')
  }
}

/** Takes away what is left of an app that was deleted. */
export async function destroyApp(deps: RestoreDeps, appId: string, signal: AbortSignal): Promise<void> {
  const { db, deployer, builder } = deps
  const tombstone = await findTombstone(db(), appId)
  if (tombstone === undefined) return
  const { slug, flyAppId } = tombstone
  await deployer().destroy({ id: appId, slug, flyAppId }, signal)
  await builder().prune?.(appId, null)
  await removeTombstone(db(), appId)
}

/** Makes of an app what it should be: its live deployment runs and gets the requests, and no other release is left. */
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
      region: live.config?.region ?? current.region
    }
    const context: RolloutContext = {
      signal,
      say: () => {}, // its deployment is over, and so is its log
      named: flyAppId => nameApp(db(), app.id, flyAppId, current.flyAppId)
    }
    await deployer().start(release, context)
    await deployer().serve(release, context)
  }
  await deployer().retire(current, live?.id ?? null, signal)
}
