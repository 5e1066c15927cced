import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { AppError } from '../../plugins/lib/errors.ts'
import type { Upload } from '../../plugins/uploads.ts'
import * as schemas from '../../schemas/deployments.ts'
import { inspectSource } from '../../src/domain/apps/sources.ts'
import { findDeployment, listDeployments } from '../../src/domain/deployments/deployments.ts'
import { PERMISSIONS } from '../../src/domain/teams/access.ts'
import { appOf } from '../lib/access.ts'
import { changes } from '../lib/change.ts'
import {
  type DeploymentRoutesOptions,
  deploymentActions,
  deploymentAudit,
  deploys,
  shownDeployment
} from '../lib/deploying.ts'
import { reads } from '../lib/policy.ts'

const deployments: FastifyPluginCallbackTypebox<DeploymentRoutesOptions> = (app, options, done) => {
  const change = changes(app)
  const { deploy, admitUpload, deploySource, rollback, cancel } = deploymentActions(app, options)

  app.post('/apps/:app/deploy', {
    schema: schemas.deploy,
    config: { ...deploys, audit: deploymentAudit('deploy') },
    handler: (request, reply) =>
      change(request, reply, tx => {
        const { commit_sha, commitSha = commit_sha, ...wanted } = request.body ?? {}
        return deploy(tx, request, { ...wanted, commitSha })
      })
  })

  app.post('/apps/:app/deploy/source', {
    schema: schemas.deploySource,
    config: {
      ...deploys,
      // Code that nobody has reviewed can read the env vars.
      access: PERMISSIONS.deployAnyCommit,
      slo: 'stream',
      upload: true,
      audit: deploymentAudit('deploy')
    },
    handler: async (request, reply) => {
      await admitUpload(app.db, request)
      const upload = requireUpload(request.body)
      return upload.receive(inspectSource, source => change(request, reply, tx => deploySource(tx, request, source)))
    }
  })

  app.post('/apps/:app/rollback', {
    schema: schemas.rollback,
    config: { ...deploys, audit: deploymentAudit('rollback') },
    handler: (request, reply) =>
      change(request, reply, tx => {
        const { deployment_id, deploymentId = deployment_id } = request.body ?? {}
        return rollback(tx, request, deploymentId)
      })
  })

  app.get('/apps/:app/deployments', {
    schema: schemas.listDeployments,
    config: { ...reads, access: PERMISSIONS.viewApps, slo: 'list' },
    handler: async request => {
      const { id } = await appOf(app, app.postgres.reads, request)
      const { items, nextCursor } = await listDeployments(app.postgres.reads, id, request.query)
      return { items: items.map(shownDeployment), nextCursor }
    }
  })

  app.get('/apps/:app/deployments/:id', {
    schema: schemas.getDeployment,
    config: { ...reads, access: PERMISSIONS.viewApps, slo: 'detail' },
    handler: async request => {
      const { id } = await appOf(app, app.postgres.reads, request)
      return shownDeployment(await findDeployment(app.postgres.reads, id, request.params.id))
    }
  })

  app.post('/apps/:app/deployments/:id/cancel', {
    schema: schemas.cancelDeployment,
    config: { ...deploys, audit: deploymentAudit('cancel') },
    handler: (request, reply) => change(request, reply, tx => cancel(tx, request))
  })

  done()
}

function requireUpload(body: unknown): Upload {
  if (typeof (body as Upload | null)?.receive === 'function') return body as Upload
  throw new AppError('UNSUPPORTED_MEDIA_TYPE', { detail: 'The body must be a gzipped tar archive: application/gzip' })
}

export default deployments
