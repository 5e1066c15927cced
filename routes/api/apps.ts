import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply } from 'fastify'
import * as schemas from '../../schemas/apps.ts'
import { type AppChanges, listApps } from '../../src/domain/apps/apps.ts'
import { isKnown } from '../../src/domain/base/revision.ts'
import { PERMISSIONS } from '../../src/domain/teams/access.ts'
import { appOf, callerOf, teamOf } from '../lib/access.ts'
import { type AppRequest, type AppRoutesOptions, appActions, tagOf } from '../lib/apps.ts'
import { changes } from '../lib/change.ts'
import { reads, writes } from '../lib/policy.ts'

const audited = (action: 'create' | 'update' | 'delete') => ({ type: 'app', action, resource: 'app' }) as const

const apps: FastifyPluginCallbackTypebox<AppRoutesOptions> = (app, options, done) => {
  const change = changes(app)
  const { create, update, remove, present } = appActions(app, options)

  app.get('/apps', {
    schema: schemas.listApps,
    config: { ...reads, access: PERMISSIONS.viewApps, slo: 'list' },
    handler: async request => {
      const { team, ...page } = request.query
      const { userId, teamId: only } = callerOf(request)
      const teamId = team === undefined ? only : (await teamOf(app, app.postgres.reads, request, team)).id
      const { items, nextCursor } = await listApps(app.postgres.reads, userId, {
        ...page,
        ...(teamId !== undefined && { teamId })
      })
      return { items: items.map(present), nextCursor }
    }
  })

  app.post('/apps', {
    schema: schemas.createApp,
    config: { ...writes, access: PERMISSIONS.createApps, audit: audited('create') },
    handler: async (request, reply) => {
      const { team, ...wanted } = request.body
      return change(request, reply, await create(request, wanted, team))
    }
  })

  app.get('/apps/:app', {
    schema: schemas.getApp,
    config: { ...reads, access: PERMISSIONS.viewApps, slo: 'detail' },
    handler: async (request, reply) => {
      const found = await appOf(app, app.postgres.reads, request)
      reply.headers(tagOf(found))
      return isKnown(request.headers['if-none-match'], found) ? reply.code(304).send() : present(found)
    }
  })

  app.put('/apps/:app', {
    schema: schemas.replaceApp,
    config: { ...writes, access: PERMISSIONS.changeApps, audit: audited('update') },
    handler: (request, reply) => changed(request, reply, request.body)
  })

  app.patch('/apps/:app', {
    schema: schemas.updateApp,
    config: { ...writes, access: PERMISSIONS.changeApps, audit: audited('update') },
    handler: (request, reply) => changed(request, reply, request.body)
  })

  app.delete('/apps/:app', {
    schema: schemas.deleteApp,
    config: { ...writes, access: PERMISSIONS.deleteApps, audit: audited('delete') },
    handler: (request, reply) => change(request, reply, tx => remove(tx, request))
  })

  async function changed(request: AppRequest, reply: FastifyReply, wanted: AppChanges) {
    return change(request, reply, await update(request, wanted))
  }

  done()
}

export default apps
