import { randomUUID } from 'node:crypto'
import { and, eq, inArray, isNull, or, sql } from 'drizzle-orm'
import {
  ACTIVE_DEPLOYMENT_STATUSES,
  apps,
  type DeploymentConfig,
  type DeploymentStatus,
  type DeploymentTrigger,
  deployments
} from '../../../drizzle/schema.ts'
import type { Db } from '../base/db.ts'
import { type DeploymentChange, dropSecrets, lockApp } from './deployments.ts'
import { canBecome } from './lifecycle.ts'

/** The fields of an app that building and running need. */
const appFields = {
  id: apps.id,
  teamId: apps.teamId,
  name: apps.name,
  slug: apps.slug,
  githubRepo: apps.githubRepo,
  githubBranch: apps.githubBranch,
  githubRepoId: apps.githubRepoId,
  githubInstallationId: apps.githubInstallationId,
  gitUrl: apps.gitUrl,
  rootDirectory: apps.rootDirectory,
  healthPath: apps.healthPath,
  healthGrace: apps.healthGrace,
  port: apps.port,
  flyAppId: apps.flyAppId,
  region: apps.region
}

export type WorkedApp = { [Field in keyof typeof appFields]: (typeof apps.$inferSelect)[Field] }

/** The health check that the app's owner has set. */
export function healthCheckOf({ healthPath, healthGrace, port }: WorkedApp) {
  return { path: healthPath, grace: healthGrace, port }
}

/** A deployment that one worker has claimed. */
export interface Claimed {
  readonly id: string
  readonly claim: string
  readonly trigger: DeploymentTrigger
  readonly commitSha: string | null
  readonly branch: string | null
  readonly sourceId: string | null
  config: DeploymentConfig | null
  status: DeploymentStatus
  image: string | null
  app: WorkedApp
}

/** The deployment was claimed by another worker, or is over: cancelled, superseded, or deleted with its app. */
export class ClaimLost extends Error {
  override readonly name = 'ClaimLost'
  constructor() {
    super('the deployment is over, or another instance has claimed it')
  }
}

/**
 * Claims a deployment. Writes by earlier workers are refused from now on.
 *
 * @returns undefined if the deployment is over
 */
export async function claimDeployment(db: Db, id: string): Promise<Claimed | undefined> {
  const [row] = await db
    .update(deployments)
    .set({ claim: randomUUID() })
    .where(and(eq(deployments.id, id), isOnItsWay))
    .returning({
      id: deployments.id,
      appId: deployments.appId,
      claim: deployments.claim,
      trigger: deployments.trigger,
      commitSha: deployments.commitSha,
      branch: deployments.branch,
      sourceId: deployments.sourceId,
      config: deployments.config,
      status: deployments.status,
      image: deployments.image
    })
  if (row === undefined) return undefined
  const { appId, claim, ...rest } = row
  const app = await findWorkedApp(db, appId)
  return app && { ...rest, claim: claim!, app }
}

const isOnItsWay = inArray(deployments.status, ACTIVE_DEPLOYMENT_STATUSES)

export async function findWorkedApp(db: Db, id: string): Promise<WorkedApp | undefined> {
  const [app] = await db.select(appFields).from(apps).where(eq(apps.id, id))
  return app
}

/** @returns the id of a deployment's app; undefined when both are deleted */
export async function findAppOf(db: Db, id: string): Promise<string | undefined> {
  const [found] = await db.select({ appId: deployments.appId }).from(deployments).where(eq(deployments.id, id))
  return found?.appId
}

/** The ids of those deployments whose claim still holds: active, or live by now. */
export async function heldClaims(db: Db, claimed: readonly Pick<Claimed, 'id' | 'claim'>[]): Promise<Set<string>> {
  const ids = claimed.map(({ id }) => id)
  const rows = await db
    .select({ claim: deployments.claim })
    .from(deployments)
    .where(and(inArray(deployments.id, ids), or(isOnItsWay, eq(deployments.status, 'live'))))
  return new Set(rows.map(({ claim }) => claim!))
}

/** @throws ClaimLost */
export async function confirmClaim(db: Db, { id, claim }: Claimed): Promise<void> {
  const [held] = await db
    .select({ id: deployments.id })
    .from(deployments)
    .where(and(eq(deployments.id, id), eq(deployments.claim, claim), isOnItsWay))
  if (held === undefined) throw new ClaimLost()
}

/** What a worker can find out about an active deployment. */
type Learnt = Partial<
  Pick<
    typeof deployments.$inferInsert,
    | 'image'
    | 'commitSha'
    | 'commitMessage'
    | 'commitAuthor'
    | 'envVersions'
    | 'config'
    | 'errorCode'
    | 'errorMessage'
    | 'errorLog'
  >
>

/**
 * Moves a deployment to its next status, if this worker still holds it and its status has not changed.
 *
 * @throws ClaimLost
 */
export async function advance(
  tx: Db,
  work: Claimed,
  to: DeploymentStatus,
  learnt: Learnt = {}
): Promise<DeploymentChange> {
  const { id, claim, status: from, trigger, app } = work
  if (!canBecome(from, to)) throw new Error(`a deployment cannot go from ${from} to ${to}`)
  const changed = await tx
    .update(deployments)
    .set({ status: to, ...learnt, ...instantsOf(to) })
    .where(and(eq(deployments.id, id), eq(deployments.claim, claim), eq(deployments.status, from)))
    .returning({ id: deployments.id })
  if (changed.length === 0) throw new ClaimLost()
  if (to === 'deploy_failed' || to === 'build_failed') await dropSecrets(tx, [id])
  return { id, appId: app.id, teamId: app.teamId, trigger, from, to }
}

/** The database's clock is authoritative. */
function instantsOf(to: DeploymentStatus) {
  const now = sql`now()`
  if (to === 'cloning') return { buildStartedAt: now, buildFinishedAt: null }
  if (to === 'built' || to === 'build_failed')
    return { buildFinishedAt: sql`case when build_started_at is not null then now() end` }
  if (to === 'deploying') return { deployStartedAt: now }
  if (to === 'live' || to === 'deploy_failed') return { deployFinishedAt: now }
  return {}
}

/**
 * Makes a deployment the live one of its app, replacing the previous one.
 *
 * @throws ClaimLost
 */
export async function promote(tx: Db, work: Claimed): Promise<DeploymentChange[]> {
  const { app } = work
  await lockApp(tx, app.id)
  const replaced = await tx
    .update(deployments)
    .set({ status: 'superseded' })
    .where(and(eq(deployments.appId, app.id), eq(deployments.status, 'live')))
    .returning({ id: deployments.id, trigger: deployments.trigger })
  const live = await advance(tx, work, 'live')
  await dropSecrets(
    tx,
    replaced.map(({ id }) => id)
  )
  const { id: appId, teamId } = app
  return [...replaced.map(old => ({ ...old, appId, teamId, from: 'live' as const, to: 'superseded' as const })), live]
}

/**
 * Stores the name under which an app runs.
 *
 * @param before the name that it replaces, if any
 * @throws ClaimLost when the app was deleted, or has been given another name: this one must not be used
 */
export async function nameApp(db: Db, appId: string, flyAppId: string, before: string | null): Promise<void> {
  const isAsItWas = before === null ? isNull(apps.flyAppId) : eq(apps.flyAppId, before)
  const named = await db
    .update(apps)
    .set({ flyAppId })
    .where(and(eq(apps.id, appId), or(isAsItWas, eq(apps.flyAppId, flyAppId))))
    .returning({ id: apps.id })
  if (named.length === 0) throw new ClaimLost()
}
