import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import * as schemas from '../../schemas/env-vars.ts'
import { deleteEnvVar, listEnvVars, setEnvVar } from '../../src/domain/apps/env-vars.ts'
import type { Db } from '../../src/domain/base/db.ts'
import type { SecretBox } from '../../src/domain/base/secret-box.ts'
import { PERMISSIONS } from '../../src/domain/teams/access.ts'
import { appOf } from '../lib/access.ts'
import { changes } from '../lib/change.ts'
import { reads, writes } from '../lib/policy.ts'

export interface EnvVarRoutesOptions {
  secretBox: SecretBox
}

const audited = (action: 'set' | 'delete') => ({ type: 'app', action, resource: 'env_var' }) as const

const envVars: FastifyPluginCallbackTypebox<EnvVarRoutesOptions> = (app, { secretBox }, done) => {
  const change = changes(app)

  app.get('/apps/:app/env', {
    schema: schemas.listEnvVars,
    config: { ...reads, access: PERMISSIONS.manageEnvVars, slo: 'list' },
    handler: async request => {
      const { id } = await appOf(app, app.postgres.reads, request)
      return listEnvVars(app.postgres.reads, id, request.query)
    }
  })

  app.put('/apps/:app/env/:key', {
    schema: schemas.setEnvVar,
    config: { ...writes, access: PERMISSIONS.manageEnvVars, audit: audited('set') },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const { id } = await appOfVar(tx, request)
        const { key } = request.params
        const { value, buildTime } = request.body
        const { created, ...envVar } = await setEnvVar(tx, secretBox, id, key, value, buildTime)
        return {
          status: created ? 201 : 200,
          body: envVar,
          audit: { details: { key, created, version: envVar.version, buildTime: envVar.buildTime } }
        }
      })
  })

  app.delete('/apps/:app/env/:key', {
    schema: schemas.deleteEnvVar,
    config: { ...writes, access: PERMISSIONS.manageEnvVars, audit: audited('delete') },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const { id } = await appOfVar(tx, request)
        const { key } = request.params
        await deleteEnvVar(tx, id, key)
        return { status: 204, audit: { details: { key } } }
      })
  })

  /** The app of a variable. Audit events, including refusals, have the variable as their subject. */
  async function appOfVar(tx: Db, request: VarRequest) {
    try {
      return await appOf(app, tx, request)
    } finally {
      const { key } = request.params
      app.audit?.about(request, { resourceId: key, resourceName: key })
    }
  }

  done()
}

type VarRequest = FastifyRequest<{ Params: { app: string; key: string } }>

export default envVars
