import { randomUUID } from 'node:crypto'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { errors } from '../../plugins/lib/errors.ts'
import { type ArrivedSource, findSource, keepSource } from '../../src/domain/apps/sources.ts'
import type { Db } from '../../src/domain/base/db.ts'
import {
  type Deployment,
  type DeploymentLedger,
  findDeployment,
  findRollbackTarget,
  type NewDeployment
} from '../../src/domain/deployments/deployments.ts'
import { type App, PERMISSIONS } from '../../src/domain/teams/access.ts'
import { appOf, callerOf } from './access.ts'
import type { AppRequest } from './apps.ts'
import type { Changed } from './change.ts'
import { writes } from './policy.ts'

export interface DeploymentRoutesOptions {
  /** Null: this server cannot deploy. */
  ledger: DeploymentLedger | null
  /** Whether images built elsewhere can be deployed. */
  takesImages: boolean
  /** Whether images are built here, also from uploaded sources. */
  takesSource: boolean
  /** The registry that stores the images of all apps, and that this server has access to. */
  registry: string
}

/** The policy of routes that begin or end a deployment. */
export const deploys = {
  ...writes,
  scope: 'deploy',
  rateClass: 'deploy',
  rateRefund: [409], // a deployment of nothing costs nothing; the limit per user still counts it
  access: PERMISSIONS.deploy
} as const

export const deploymentAudit = (action: 'deploy' | 'rollback' | 'cancel') =>
  ({ type: 'deployment', action, resource: 'deployment' }) as const

/** What to deploy; default: the newest commit of the app's branch. */
export interface DeployTarget {
  readonly image?: string | undefined
  readonly branch?: string | undefined
  readonly commitSha?: string | undefined
  /** A commit that need not be on the app's branch. */
  readonly anyCommit?: boolean | undefined
}

/** A deployment that has begun or ended, for the API and for pages. */
export interface DeploymentChanged extends Changed {
  readonly app: App
  readonly deployment: Deployment
}

type DeploymentRequest = FastifyRequest<{ Params: { app: string; id: string } }>

/** Begins and ends deployments, for the API and for pages; each runs in the transaction of a change. */
export function deploymentActions(
  app: FastifyInstance,
  { ledger, takesImages, takesSource, registry }: DeploymentRoutesOptions
) {
  async function deploy(tx: Db, request: AppRequest, wanted: DeployTarget): Promise<DeploymentChanged> {
    const { found } = await deployable(tx, request)
    const { branch, anyCommit = false } = wanted
    // A caller who chooses code outside the app's branch can read the env vars.
    const isElsewhere = branch !== undefined && branch !== found.githubBranch
    if (anyCommit || isElsewhere) await appOf(app, tx, request, PERMISSIONS.deployAnyCommit)
    return begin(tx, request, found, wanted)
  }

  /** Deploys an app that the caller may deploy. */
  async function begin(tx: Db, request: FastifyRequest, found: App, wanted: DeployTarget): Promise<DeploymentChanged> {
    const { image, branch, anyCommit = false, commitSha } = wanted
    const isElsewhere = branch !== undefined && branch !== found.githubBranch
    if (image !== undefined) requireOwnImage(found, image)
    const sourceId = image === undefined && isWithoutRepository(found) ? await lastUpload(tx, found) : null
    const deployment = await ledgerOf().create(tx, {
      appId: found.id,
      trigger: triggerOf(request),
      triggeredBy: callerOf(request).userId,
      ...((anyCommit || isElsewhere) && { config: { region: found.region, anyCommit: true as const } }),
      ...targetOf({ image, commitSha, branch: branch ?? found.githubBranch, sourceId })
    })
    return accepted(found, deployment, { ...deployment })
  }

  /** Refuses an upload from a caller without permission, before the body arrives. */
  async function admitUpload(db: Db, request: AppRequest): Promise<void> {
    await deployable(db, request)
    if (!takesSource) throw errors.notConfigured('Building')
  }

  /** Deploys an uploaded source, and stores it for the next deployment. */
  async function deploySource(tx: Db, request: AppRequest, source: ArrivedSource): Promise<DeploymentChanged> {
    const { found, deploying } = await deployable(tx, request)
    const sourceId = randomUUID()
    const deployment = await deploying.create(tx, {
      appId: found.id,
      trigger: triggerOf(request),
      triggeredBy: callerOf(request).userId,
      sourceId
    })
    await keepSource(tx, found.id, sourceId, source)
    return accepted(found, deployment, { ...deployment, source: source.digest })
  }

  /** @param id the deployment to roll back to; absent: the one before the live one */
  async function rollback(tx: Db, request: AppRequest, id: string | undefined): Promise<DeploymentChanged> {
    const { found, deploying } = await deployable(tx, request)
    const target = await findRollbackTarget(tx, found.id, id)
    const { commitSha, commitAuthor, branch, sourceId, image } = target
    const deployment = await deploying.create(tx, {
      appId: found.id,
      trigger: 'rollback',
      triggeredBy: callerOf(request).userId,
      commitSha,
      commitAuthor,
      commitMessage: `Rollback to ${target.id.slice(0, 8)}`,
      branch,
      sourceId,
      image,
      rollbackOf: target.id
    })
    return accepted(found, deployment, { to: target.id, image })
  }

  async function cancel(tx: Db, request: DeploymentRequest): Promise<DeploymentChanged> {
    const { found, deploying } = await deployable(tx, request)
    app.audit?.about(request, { resourceId: request.params.id, resourceName: null })
    const deployment = await findDeployment(tx, found.id, request.params.id)
    const cancelled = await deploying.cancel(tx, deployment)
    return accepted(found, cancelled, { status: deployment.status })
  }

  /** The subject in the audit log is a deployment of the app, not the app itself. */
  async function deployable(tx: Db, request: AppRequest) {
    const found = await appOf(app, tx, request)
    app.audit?.about(request, { resourceId: null, resourceName: found.name })
    return { found, deploying: ledgerOf() }
  }

  function ledgerOf(): DeploymentLedger {
    if (ledger === null) throw errors.notConfigured('Deploying')
    return ledger
  }

  /** Our registry holds the images of all teams: knowing a digest must not be enough to run the image. */
  function requireOwnImage({ flyAppId }: App, image: string): void {
    if (!takesImages) throw errors.validation('image', 'apps here are built from source')
    const [repository = ''] = image.split('@')
    if (repository.startsWith(`${registry}/`) && repository !== `${registry}/${flyAppId}`)
      throw errors.validation('image', 'belongs to another app')
  }

  return { deploy, begin, admitUpload, deploySource, rollback, cancel }
}

const isWithoutRepository = ({ githubRepo, gitUrl }: App) => githubRepo === null && gitUrl === null

/** An app without a repository is built from its last upload. */
async function lastUpload(tx: Db, { id }: App): Promise<string> {
  const sourceId = await findSource(tx, id)
  if (sourceId !== undefined) return sourceId
  throw errors.conflict(
    'There is nothing to deploy: set githubRepo or gitUrl of the app, or upload a folder (rhone deploy)'
  )
}

interface Target {
  readonly image: string | undefined
  readonly commitSha: string | undefined
  readonly branch: string
  readonly sourceId: string | null
}

function targetOf({ image, commitSha, branch, sourceId }: Target): Partial<NewDeployment> {
  if (image !== undefined) return { image }
  if (sourceId === null) return { commitSha: commitSha ?? null, branch }
  if (commitSha === undefined) return { sourceId }
  throw errors.validation('commitSha', 'the app has no repository, only an uploaded source')
}

/** The command line identifies itself, browsers have a session, and all other clients a token. */
function triggerOf(request: FastifyRequest) {
  if (/^rhone-cli\//.test(request.headers['user-agent'] ?? '')) return 'cli'
  return callerOf(request).via === 'session' ? 'manual' : 'api'
}

function accepted(app: App, deployment: Deployment, details: object): DeploymentChanged {
  const { id: appId, teamId, name } = app
  return {
    status: 202,
    headers: { location: `/api/v1/apps/${appId}/deployments/${deployment.id}` },
    body: shownDeployment(deployment),
    audit: { resourceId: deployment.id, resourceName: name, teamId, appId, details: { ...details } },
    app,
    deployment
  }
}

/** A deployment as the API sends it. */
export function shownDeployment(deployment: Deployment) {
  const { buildStartedAt, buildFinishedAt, deployStartedAt, deployFinishedAt } = deployment
  return {
    ...deployment,
    buildDurationMs: millisecondsFrom(buildStartedAt, buildFinishedAt),
    deployDurationMs: millisecondsFrom(deployStartedAt, deployFinishedAt)
  }
}

function millisecondsFrom(start: Date | null, end: Date | null): number | null {
  return start && end && Math.max(0, end.getTime() - start.getTime())
}
