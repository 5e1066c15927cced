import { createHash } from 'node:crypto'
import type { Deployer, Running } from '../../plugins/deployer/index.ts'
import type { JobQueue, Jobs } from '../../plugins/jobs/index.ts'
import type { Db } from '../domain/db.ts'
import { idleDeployments, platformState } from '../domain/deployments.ts'
import { listTombstones } from '../domain/tombstones.ts'
import type { DeployJob } from './deploy.ts'
import { DEPLOY_QUEUE } from './ledger.ts'

export interface ReconcileDeps {
  readonly db: () => Db
  readonly deployer: () => Deployer
  readonly jobs: () => Pick<Jobs, 'send'>
}

export const RECONCILE_QUEUE = 'reconcile'
/** Seconds after which somebody should have touched a deployment that is on its way. */
const IDLE = 120
/** One remedy per app, and per this many milliseconds. */
const REMEDY_INTERVAL = 5 * 60_000

/**
 * Compares what should run with what runs. It changes nothing by itself: remedies are jobs of the app's own line, so that
 * none meets a deployment. What cannot be read is no reason to act, and what nobody here knows is left alone: it may be of
 * another installation, or of a database that was restored.
 */
export function reconcileQueue(deps: ReconcileDeps): JobQueue {
  return {
    name: RECONCILE_QUEUE,
    concurrency: 1,
    timeout: 5 * 60,
    retries: 0,
    retryDelay: 1,
    coalesced: true,
    schedule: '* * * * *',
    async run(_data, { signal, log }) {
      const running = await deps.deployer().running(signal)
      // After what runs: a deployment that went live in between is seen as live, though not as running.
      const state = await platformState(deps.db())
      const tombstones = await listTombstones(deps.db())
      const buried = new Set(tombstones.map(({ appId }) => appId))

      for (const { appId } of tombstones) await remedy(deps, appId, { destroy: appId })
      for (const appId of astray(running, state)) await remedy(deps, appId, { restore: appId })
      for (const { id, appId } of await idleDeployments(deps.db(), IDLE))
        await remedy(deps, appId, { deploymentId: id })

      const unknown = running.filter(({ appId }) => !state.known.has(appId) && !buried.has(appId))
      if (unknown.length > 0) log.warn({ apps: unknown.map(({ appId }) => appId) }, 'apps run that nobody here knows')
    }
  }
}

/** Apps whose live deployment does not serve, or of which anything else runs. */
export function astray(
  running: readonly Running[],
  { live, active, known }: Awaited<ReturnType<typeof platformState>>
): string[] {
  const byApp = Map.groupBy(running, ({ appId }) => appId)
  const isRight = (appId: string) => {
    const releases = byApp.get(appId) ?? []
    const wanted = live.get(appId)
    return wanted === undefined
      ? releases.length === 0
      : releases.some(({ deploymentId, isServing }) => deploymentId === wanted && isServing) &&
          releases.every(({ deploymentId }) => deploymentId === wanted)
  }
  const apps = new Set([...live.keys(), ...byApp.keys()])
  return [...apps].filter(appId => known.has(appId) && !active.has(appId) && !isRight(appId))
}

/** The same remedy is not sent again while the first may still be at it. */
async function remedy({ jobs }: ReconcileDeps, appId: string, job: DeployJob): Promise<void> {
  const round = Math.floor(Date.now() / REMEDY_INTERVAL)
  await jobs().send(null, DEPLOY_QUEUE, job, { key: appId, id: uuidOf(JSON.stringify([job, round])) })
}

/** A UUID (of the kind that RFC 9562 leaves to whoever makes it) that is the same for the same text. */
function uuidOf(text: string): string {
  const hex = createHash('sha256').update(text).digest('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20, 32)].join(
    '-'
  )
}
