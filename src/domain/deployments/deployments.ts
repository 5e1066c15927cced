import { and, desc, eq, inArray, isNotNull, lt, ne, sql } from 'drizzle-orm'
import {
  ACTIVE_DEPLOYMENT_STATUSES,
  apps,
  type DeploymentConfig,
  type DeploymentStatus,
  type DeploymentTrigger,
  deploymentSecrets,
  deployments
} from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import { type Db, repeatableRead } from '../base/db.ts'
import { afterBoundCursor, microseconds, type Page, type PageRequest, pageValues, toPage } from '../base/page.ts'
import { isActive } from './lifecycle.ts'

const fields = {
  id: deployments.id,
  appId: deployments.appId,
  status: deployments.status,
  trigger: deployments.trigger,
  triggeredBy: deployments.triggeredBy,
  commitSha: deployments.commitSha,
  commitMessage: deployments.commitMessage,
  commitAuthor: deployments.commitAuthor,
  branch: deployments.branch,
  sourceId: deployments.sourceId,
  image: deployments.image,
  rollbackOf: deployments.rollbackOf,
  envVersions: deployments.envVersions,
  config: deployments.config,
  errorCode: deployments.errorCode,
  errorMessage: deployments.errorMessage,
  errorLog: deployments.errorLog,
  buildStartedAt: deployments.buildStartedAt,
  buildFinishedAt: deployments.buildFinishedAt,
  deployStartedAt: deployments.deployStartedAt,
  deployFinishedAt: deployments.deployFinishedAt,
  createdAt: deployments.createdAt,
  updatedAt: deployments.updatedAt
}

export type Deployment = { [Field in keyof typeof fields]: (typeof deployments.$inferSelect)[Field] }

/** Begins and ends deployments; each change is one transaction with all its consequences. */
export interface DeploymentLedger {
  create(tx: Db, request: NewDeployment): Promise<Deployment>
  /** @throws AppError when it is already over */
  cancel(tx: Db, deployment: Deployment): Promise<Deployment>
}

/** The target of a deployment: a commit or an uploaded source to build, or an image. */
export interface NewDeployment {
  readonly appId: string
  readonly trigger: DeploymentTrigger
  readonly triggeredBy: string | null
  /** Absent: the newest commit of the branch at build time. */
  readonly commitSha?: string | null
  readonly commitMessage?: string | null
  readonly commitAuthor?: string | null
  readonly branch?: string | null
  readonly sourceId?: string | null
  readonly image?: string
  readonly rollbackOf?: string
  readonly config?: DeploymentConfig
}

export interface DeploymentChange {
  readonly id: string
  readonly appId: string
  readonly teamId: string
  readonly trigger: DeploymentTrigger
  readonly from: DeploymentStatus
  readonly to: DeploymentStatus
}

const OVERTAKEN = 'A newer deployment took its place.'

/**
 * Begins a deployment, and cancels the active ones of the app: the newest wins. Deployments of one app are created one
 * at a time, so that exactly one of any number of concurrent ones is the newest.
 *
 * @returns the deployment, its team, and the changes to the others
 */
export async function insertDeployment(
  tx: Db,
  { appId, ...values }: NewDeployment
): Promise<{ deployment: Deployment; teamId: string; cancelled: DeploymentChange[] }> {
  const app = await lockApp(tx, appId)
  const cancelled = await cancelActive(tx, app, OVERTAKEN)
  const [deployment] = await tx
    .insert(deployments)
    // Not the start of the transaction, which does not reflect the order of requests.
    .values({ appId, ...values, createdAt: sql`clock_timestamp()`, updatedAt: sql`clock_timestamp()` })
    .returning(fields)
  return { deployment: deployment!, teamId: app.teamId, cancelled }
}

/** Serializes changes to which deployment of an app is the newest or live. */
export async function lockApp(tx: Db, appId: string): Promise<LockedApp> {
  const [app] = await tx.select(lockedFields).from(apps).where(eq(apps.id, appId)).for('no key update')
  if (app === undefined) throw errors.notFound('app')
  return app
}

const lockedFields = { id: apps.id, teamId: apps.teamId }
type LockedApp = { id: string; teamId: string }

/** Cancels the active deployments of an app. */
export async function cancelDeployments(tx: Db, appId: string): Promise<DeploymentChange[]> {
  return cancelActive(tx, await lockApp(tx, appId))
}

/** @param errorMessage why, where nobody has asked for it */
async function cancelActive(
  tx: Db,
  { id: appId, teamId }: LockedApp,
  errorMessage: string | null = null
): Promise<DeploymentChange[]> {
  const active = await tx
    .select({ id: deployments.id, trigger: deployments.trigger, from: deployments.status })
    .from(deployments)
    .where(and(eq(deployments.appId, appId), inArray(deployments.status, ACTIVE_DEPLOYMENT_STATUSES)))
    .for('update')
  if (active.length === 0) return []
  const ids = active.map(({ id }) => id)
  await tx.update(deployments).set({ status: 'cancelled', errorMessage }).where(inArray(deployments.id, ids))
  await dropSecrets(tx, ids)
  return active.map(change => ({ ...change, appId, teamId, to: 'cancelled' as const }))
}

/** Deletes the env of deployments that are over. */
export async function dropSecrets(tx: Db, ids: readonly string[]): Promise<void> {
  if (ids.length > 0) await tx.delete(deploymentSecrets).where(inArray(deploymentSecrets.deploymentId, [...ids]))
}

/** Cancels an active deployment. @throws AppError when it is already over */
export async function cancelDeployment(tx: Db, deployment: Deployment): Promise<DeploymentChange> {
  const { id, appId, trigger } = deployment
  const [held] = await tx
    .select({ status: deployments.status, teamId: apps.teamId })
    .from(deployments)
    .innerJoin(apps, eq(apps.id, deployments.appId))
    .where(eq(deployments.id, id))
    .for('update', { of: deployments })
  if (held === undefined) throw errors.notFound('deployment')
  if (!isActive(held.status)) throw errors.conflict(`The deployment is over: it is ${held.status.replace('_', ' ')}`)
  await tx.update(deployments).set({ status: 'cancelled' }).where(eq(deployments.id, id))
  await dropSecrets(tx, [id])
  return { id, appId, teamId: held.teamId, trigger, from: held.status, to: 'cancelled' }
}

const deploymentsOfApp = repeatableRead(db =>
  db
    .select({ ...fields, at: microseconds(deployments.createdAt) })
    .from(deployments)
    .where(and(eq(deployments.appId, sql.placeholder('app')), afterBoundCursor(deployments)))
    .orderBy(desc(deployments.createdAt), desc(deployments.id))
    .limit(sql.placeholder('limit'))
    .prepare('deployments_of_app')
)

/** The deployments of an app, newest first. */
export async function listDeployments(db: Db, appId: string, request: PageRequest = {}): Promise<Page<Deployment>> {
  const rows = await deploymentsOfApp(db).execute({ app: appId, ...pageValues(request) })
  return toPage(rows, request.limit)
}

const deploymentById = repeatableRead(db =>
  db
    .select(fields)
    .from(deployments)
    .where(and(eq(deployments.id, sql.placeholder('id')), eq(deployments.appId, sql.placeholder('app'))))
    .prepare('deployment_by_id')
)

/** A deployment of this app; those of other apps are not found. */
export async function findDeployment(db: Db, appId: string, id: string): Promise<Deployment> {
  const [found] = await deploymentById(db).execute({ app: appId, id })
  if (found === undefined) throw errors.notFound('deployment')
  return found
}

/** How many images of an app are available for rollback. */
export const ROLLBACK_TARGETS = 10

const hasServed = and(inArray(deployments.status, ['live', 'superseded']), isNotNull(deployments.image))

/**
 * The deployment that a rollback restores: the requested one, or the one before the live one.
 *
 * @throws AppError when it belongs to another app, was never live, or its image is no longer kept
 */
export async function findRollbackTarget(tx: Db, appId: string, id?: string): Promise<Deployment & { image: string }> {
  const target = id === undefined ? await findPrevious(tx, appId) : await findDeployment(tx, appId, id)
  const { image, status } = target
  if (image === null || !['live', 'superseded'].includes(status))
    throw errors.conflict('You can only roll back to a deployment that is or was live')
  if (!(await imagesInUse(tx, appId)).includes(image))
    throw errors.conflict(`The image is no longer kept: you can only roll back to the last ${ROLLBACK_TARGETS}`)
  return { ...target, image }
}

/** The last previously live deployment whose image differs from that of the live one. */
async function findPrevious(tx: Db, appId: string): Promise<Deployment> {
  const live = await findLive(tx, appId)
  const [target] = await tx
    .select(fields)
    .from(deployments)
    .where(
      and(
        eq(deployments.appId, appId),
        hasServed,
        live && ne(deployments.id, live.id),
        live && lt(deployments.createdAt, live.createdAt),
        live?.image ? ne(deployments.image, live.image) : undefined
      )
    )
    .orderBy(desc(deployments.createdAt), desc(deployments.id))
    .limit(1)
  if (target === undefined) throw errors.conflict('There is no earlier deployment to roll back to')
  return target
}

export async function findLive(db: Db, appId: string): Promise<Deployment | undefined> {
  const [live] = await db
    .select(fields)
    .from(deployments)
    .where(and(eq(deployments.appId, appId), eq(deployments.status, 'live')))
  return live
}

export async function hasActive(db: Db, appId: string): Promise<boolean> {
  const condition = and(eq(deployments.appId, appId), inArray(deployments.status, ACTIVE_DEPLOYMENT_STATUSES))
  return (await db.$count(deployments, condition)) > 0
}

/** Whether a release of the app is being started or switched to. */
export async function isRollingOut(db: Db, appId: string): Promise<boolean> {
  return (await db.$count(deployments, and(eq(deployments.appId, appId), eq(deployments.status, 'deploying')))) > 0
}

export interface PlatformState {
  /** The live deployment of each app that has one. */
  readonly live: ReadonlyMap<string, string>
  /** The active deployment of each app that has one. */
  readonly active: ReadonlyMap<string, string>
  /** All existing apps. */
  readonly known: ReadonlySet<string>
}

export async function platformState(db: Db): Promise<PlatformState> {
  const rows = await db
    .select({ id: deployments.id, appId: deployments.appId, status: deployments.status })
    .from(deployments)
    .where(inArray(deployments.status, [...ACTIVE_DEPLOYMENT_STATUSES, 'live']))
  const { live = [], active = [] } = Object.groupBy(rows, ({ status }) => (status === 'live' ? 'live' : 'active'))
  return {
    live: new Map(live.map(({ appId, id }) => [appId, id])),
    active: new Map(active.map(({ appId, id }) => [appId, id])),
    known: new Set((await db.select({ id: apps.id }).from(apps)).map(({ id }) => id))
  }
}

/** The images of an app that must be kept: those of active and live deployments and of rollback targets. */
export async function imagesInUse(db: Db, appId: string): Promise<string[]> {
  const rollbacks = db
    .selectDistinctOn([deployments.image], { image: deployments.image, createdAt: deployments.createdAt })
    .from(deployments)
    .where(and(eq(deployments.appId, appId), hasServed))
    .orderBy(deployments.image, desc(deployments.createdAt))
    .as('rollbacks')
  const served = await db
    .select({ image: rollbacks.image })
    .from(rollbacks)
    .orderBy(desc(rollbacks.createdAt))
    .limit(ROLLBACK_TARGETS + 1)
  const needed = await db
    .select({ image: deployments.image })
    .from(deployments)
    .where(
      and(
        eq(deployments.appId, appId),
        inArray(deployments.status, [...ACTIVE_DEPLOYMENT_STATUSES, 'live']),
        isNotNull(deployments.image)
      )
    )
  return [...new Set([...served, ...needed].map(({ image }) => image!))]
}
