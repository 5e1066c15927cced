import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { errors } from '../../plugins/lib/errors.ts'
import * as schemas from '../../schemas/deployments.ts'
import type { Db } from '../../src/domain/base/db.ts'
import {
  type Deployment,
  type DeploymentLedger,
  findDeployment,
  findRollbackTarget,
  listDeployments
} from '../../src/domain/deployments/deployments.ts'
import { type App, PERMISSIONS } from '../../src/domain/teams/access.ts'
import { appOf, callerOf } from '../lib/access.ts'
import { type Changed, changes } from '../lib/change.ts'
import { reads, writes } from '../lib/policy.ts'

export interface DeploymentRoutesOptions {
  /** Null: this server cannot deploy. */
  ledger: DeploymentLedger | null
  /** Whether images built elsewhere can be deployed. */
  takesImages: boolean
  /** The registry that stores the images of all apps, and that this server has access to. */
  registry: string
}

const deploys = {
  ...writes,
  scope: 'deploy',
  rateClass: 'deploy',
  rateRefund: [409], // what there is nothing to deploy for costs nothing; the limit by user still counts it
  access: PERMISSIONS.deploy
} as const
const audited = (action: 'deploy' | 'rollback' | 'cancel') =>
  ({ type: 'deployment', action, resource: 'deployment' }) as const

const deployments: FastifyPluginCallbackTypebox<DeploymentRoutesOptions> = (app, options, done) => {
  const { ledger, takesImages, registry } = options
  const change = changes(app)

  app.post('/apps/:app/deploy', {
    schema: schemas.deploy,
    config: { ...deploys, audit: audited('deploy') },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const { found, deploying } = await deployable(tx, request)
        const { image, branch, anyCommit = false, commit_sha, commitSha = commit_sha } = request.body ?? {}
        // A caller who chooses code that is not on the app's branch can read the env vars.
        const isElsewhere = branch !== undefined && branch !== found.githubBranch
        if (anyCommit || isElsewhere) await appOf(app, tx, request, PERMISSIONS.deployAnyCommit)
        if (image === undefined) requireSource(found)
        else requireOwnImage(found, image)
        const deployment = await deploying.create(tx, {
          appId: found.id,
          trigger: triggerOf(request),
          triggeredBy: callerOf(request).userId,
          ...((anyCommit || isElsewhere) && { config: { region: found.region, anyCommit: true as const } }),
          ...(image === undefined ? { commitSha, branch: branch ?? found.githubBranch } : { image })
        })
        return accepted(found, deployment, { ...deployment })
      })
  })

  app.post('/apps/:app/rollback', {
    schema: schemas.rollback,
    config: { ...deploys, audit: audited('rollback') },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const { found, deploying } = await deployable(tx, request)
        const { deployment_id, deploymentId = deployment_id } = request.body ?? {}
        const target = await findRollbackTarget(tx, found.id, deploymentId)
        const { commitSha, commitAuthor, branch, image } = target
        const deployment = await deploying.create(tx, {
          appId: found.id,
          trigger: 'rollback',
          triggeredBy: callerOf(request).userId,
          commitSha,
          commitAuthor,
          commitMessage: `Rollback to ${target.id.slice(0, 8)}`,
          branch,
          image,
          rollbackOf: target.id
        })
        return accepted(found, deployment, { to: target.id, image })
      })
  })

  app.get('/apps/:app/deployments', {
    schema: schemas.listDeployments,
    config: { ...reads, access: PERMISSIONS.viewApps, slo: 'list' },
    handler: async request => {
      const { id } = await appOf(app, app.db, request)
      const { items, nextCursor } = await listDeployments(app.postgres.reads, id, request.query)
      return { items: items.map(shown), nextCursor }
    }
  })

  app.get('/apps/:app/deployments/:id', {
    schema: schemas.getDeployment,
    config: { ...reads, access: PERMISSIONS.viewApps, slo: 'detail' },
    handler: async request => {
      const { id } = await appOf(app, app.db, request)
      return shown(await findDeployment(app.postgres.reads, id, request.params.id))
    }
  })

  app.post('/apps/:app/deployments/:id/cancel', {
    schema: schemas.cancelDeployment,
    config: { ...deploys, audit: audited('cancel') },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const { found, deploying } = await deployable(tx, request)
        app.audit?.about(request, { resourceId: request.params.id, resourceName: null })
        const deployment = await findDeployment(tx, found.id, request.params.id)
        const cancelled = await deploying.cancel(tx, deployment)
        return accepted(found, cancelled, { status: deployment.status })
      })
  })

  /** The subject in the audit log is a deployment of the app, not the app itself. */
  async function deployable(tx: Db, request: FastifyRequest<{ Params: { app: string } }>) {
    const found = await appOf(app, tx, request)
    app.audit?.about(request, { resourceId: null, resourceName: found.name })
    if (ledger === null) throw errors.notConfigured('Deploying')
    return { found, deploying: ledger }
  }

  /** Our registry holds the images of all teams: knowing a digest must not be enough to run the image. */
  function requireOwnImage({ flyAppId }: App, image: string): void {
    if (!takesImages) throw errors.validation('image', 'apps here are built from source')
    const [repository = ''] = image.split('@')
    if (repository.startsWith(`${registry}/`) && repository !== `${registry}/${flyAppId}`)
      throw errors.validation('image', 'is of another app')
  }

  done()
}

function requireSource({ githubRepo, gitUrl }: App): void {
  if (githubRepo === null && gitUrl === null)
    throw errors.conflict('There is nothing to deploy: set the githubRepo or the gitUrl of the app')
}

/** The command line identifies itself, browsers have a session, and all other clients a token. */
function triggerOf(request: FastifyRequest) {
  if (/^rhone-cli\//.test(request.headers['user-agent'] ?? '')) return 'cli'
  return callerOf(request).via === 'session' ? 'manual' : 'api'
}

function accepted({ id: appId, teamId, name }: App, deployment: Deployment, details: object): Changed {
  return {
    status: 202,
    headers: { location: `/api/v1/apps/${appId}/deployments/${deployment.id}` },
    body: shown(deployment),
    audit: { resourceId: deployment.id, resourceName: name, teamId, appId, details: { ...details } }
  }
}

function shown(deployment: Deployment) {
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

export default deployments
