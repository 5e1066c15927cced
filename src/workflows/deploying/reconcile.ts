import type { FastifyBaseLogger } from 'fastify'
import type { Deployer, Running } from '../../../integrations/deployer/index.ts'
import type { JobQueue, Jobs, ListedJob } from '../../../plugins/jobs/index.ts'
import type { Db } from '../../domain/base/db.ts'
import { type PlatformState, platformState } from '../../domain/deployments/deployments.ts'
import { listTombstones, type Tombstone } from '../../domain/privacy/tombstones.ts'
import type { DeployJob } from './deploy.ts'
import { DEPLOY_QUEUE } from './ledger.ts'

export interface ReconcileDeps {
  readonly db: () => Db
  readonly deployer: () => Deployer
  readonly jobs: () => Pick<Jobs, 'send' | 'list'>
}

export const RECONCILE_QUEUE = 'reconcile'
const OPEN_STATES = ['waiting', 'retrying', 'active'] as const
const PAGE = 500

/**
 * Compares desired with actual state. It changes nothing directly: repairs are jobs in the app's own queue, so they
 * never overlap a deployment, and an app that already has a job there is skipped. Unreadable state causes no action,
 * and unknown apps are left alone: they may belong to another installation or a restored database.
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
      try {
        await reconcile(deps, signal, log)
      } catch (error) {
        if (signal.aborted) throw error
        log.warn({ err: error }, 'running apps could not be compared with the desired state; retrying in a minute')
      }
    }
  }
}

async function reconcile(deps: ReconcileDeps, signal: AbortSignal, log: FastifyBaseLogger): Promise<void> {
  const running = await deps.deployer().running(signal)
  // Read after the running releases: a deployment that went live in between appears as live but not as running.
  const state = await platformState(deps.db())
  const tombstones = await listTombstones(deps.db())
  // Read after the active deployments: their jobs were already queued then, or have finished.
  const cared = await appsInLine(deps.jobs())
  await silence(
    deps,
    running,
    tombstones.filter(({ appId }) => cared.has(appId)),
    { signal, log }
  )
  const remedies = new Map<string, DeployJob>([
    ...tombstones.map(({ appId }) => [appId, { destroy: appId }] as const),
    ...divergentApps(running, state).map(appId => [appId, { restore: appId }] as const),
    ...[...state.active].map(([appId, deploymentId]) => [appId, { deploymentId }] as const)
  ])
  for (const [appId, job] of remedies)
    if (!cared.has(appId))
      await deps.jobs().send(null, DEPLOY_QUEUE, job, { key: appId, express: !('deploymentId' in job) })

  const buried = new Set(tombstones.map(({ appId }) => appId))
  const unknown = running.filter(({ appId }) => !state.known.has(appId) && !buried.has(appId))
  if (unknown.length > 0) log.warn({ apps: unknown.map(({ appId }) => appId) }, 'unknown apps are running')
}

/**
 * Stops a deleted app that still serves, even while a job on it is running. That job, in the app's own queue, removes
 * the rest.
 */
async function silence(
  { deployer }: ReconcileDeps,
  running: readonly Running[],
  deleted: readonly Tombstone[],
  { signal, log }: { signal: AbortSignal; log: FastifyBaseLogger }
): Promise<void> {
  const serving = new Set(running.filter(({ isServing }) => isServing).map(({ appId }) => appId))
  await Promise.all(
    deleted
      .filter(({ appId }) => serving.has(appId))
      .map(({ appId: id, slug, flyAppId }) =>
        deployer()
          .retire({ id, slug, flyAppId }, null, signal)
          .catch(error => log.warn({ err: error, appId: id }, 'a deleted app is still running'))
      )
  )
}

/** Apps whose live deployment is not serving, or that have any other release running. */
export function divergentApps(running: readonly Running[], { live, active, known }: PlatformState): string[] {
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

/** Apps with a running or queued job. */
async function appsInLine(jobs: Pick<Jobs, 'list'>): Promise<Set<string>> {
  const apps = new Set<string>()
  for (const state of OPEN_STATES)
    for (let page: ListedJob[] | undefined; page === undefined || page.length === PAGE; ) {
      page = await jobs.list({ queue: DEPLOY_QUEUE, state }, PAGE, page?.at(-1)?.position)
      for (const { key } of page) if (key !== null) apps.add(key)
    }
  return apps
}
