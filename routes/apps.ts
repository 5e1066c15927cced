import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import * as schemas from '../schemas/apps.ts'
import { type App, PERMISSIONS } from '../src/domain/access.ts'
import { type AppChanges, changeApp, createApp, deleteApp, listApps } from '../src/domain/apps.ts'
import type { Db } from '../src/domain/db.ts'
import { entityTag, expectedVersion, isKnown } from '../src/domain/revision.ts'
import { findHomeTeam } from '../src/domain/teams.ts'
import { appOf, callerOf, teamOf } from './lib/access.ts'
import { type Changed, changes } from './lib/change.ts'
import { reads, writes } from './lib/policy.ts'

const audited = (action: 'create' | 'update' | 'delete') => ({ type: 'app', action, resource: 'app' }) as const

const apps: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const change = changes(app)

  app.get('/apps', {
    schema: schemas.listApps,
    config: { ...reads, access: PERMISSIONS.viewApps, slo: 'list' },
    handler: async request => {
      const { team, ...page } = request.query
      const { userId, teamId: only } = callerOf(request)
      const teamId = team === undefined ? only : (await teamOf(app, app.db, request, team)).id
      return listApps(app.db, userId, { ...page, ...(teamId !== undefined && { teamId }) })
    }
  })

  app.post('/apps', {
    schema: schemas.createApp,
    config: { ...writes, access: PERMISSIONS.createApps, audit: audited('create') },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const { team, ...settings } = request.body
        const named = team ?? callerOf(request).teamId
        const { id } = await (named ? teamOf(app, tx, request, named) : homeOf(tx, request))
        const created = await createApp(tx, id, settings)
        const location = `/api/v1/apps/${created.id}`
        return {
          status: 201,
          headers: { location, ...tagOf(created) },
          body: created,
          audit: eventOf(created, created)
        }
      })
  })

  app.get('/apps/:app', {
    schema: schemas.getApp,
    config: { ...reads, access: PERMISSIONS.viewApps, slo: 'detail' },
    handler: async (request, reply) => {
      const found = await appOf(app, app.db, request)
      reply.headers(tagOf(found))
      return isKnown(request.headers['if-none-match'], found) ? reply.code(304).send() : found
    }
  })

  app.put('/apps/:app', {
    schema: schemas.replaceApp,
    config: { ...writes, access: PERMISSIONS.changeApps, audit: audited('update') },
    handler: (request, reply) => change(request, reply, tx => update(tx, request, request.body))
  })

  app.patch('/apps/:app', {
    schema: schemas.updateApp,
    config: { ...writes, access: PERMISSIONS.changeApps, audit: audited('update') },
    handler: (request, reply) => change(request, reply, tx => update(tx, request, request.body))
  })

  app.delete('/apps/:app', {
    schema: schemas.deleteApp,
    config: { ...writes, access: PERMISSIONS.deleteApps, audit: audited('delete') },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const found = await appOf(app, tx, request)
        await deleteApp(tx, found, expectedVersion(request.headers['if-match'], found))
        return { status: 204, audit: eventOf(found, { slug: found.slug }) }
      })
  })

  async function homeOf(tx: Db, request: FastifyRequest): Promise<{ id: string }> {
    const home = await findHomeTeam(tx, callerOf(request).userId)
    app.audit?.about(request, { teamId: home.id })
    return home
  }

  async function update(tx: Db, request: AppRequest, settings: AppChanges): Promise<Changed> {
    const found = await appOf(app, tx, request)
    const changed = await changeApp(tx, found, settings, expectedVersion(request.headers['if-match'], found))
    const details = { ...changed, changed: Object.keys(settings) }
    return { status: 200, headers: tagOf(changed), body: changed, audit: eventOf(changed, details) }
  }

  done()
}

type AppRequest = FastifyRequest<{ Params: { app: string } }>

function tagOf(app: App): { etag: string } {
  return { etag: entityTag(app) }
}

/** Of the details, the audit log keeps what its catalogue allows. */
function eventOf(app: App, details: object): Changed['audit'] {
  return { resourceId: app.id, resourceName: app.name, teamId: app.teamId, appId: app.id, details: { ...details } }
}

export default apps
