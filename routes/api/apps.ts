import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { DeployedApp } from '../../integrations/deployer/port.ts'
import * as schemas from '../../schemas/apps.ts'
import {
  type AppChanges,
  changeApp,
  createApp,
  deleteApp,
  type ListedApp,
  listApps
} from '../../src/domain/apps/apps.ts'
import { settledSource } from '../../src/domain/apps/source.ts'
import type { Db } from '../../src/domain/base/db.ts'
import { entityTag, expectedVersion, isKnown } from '../../src/domain/base/revision.ts'
import { type App, PERMISSIONS } from '../../src/domain/teams/access.ts'
import { findHomeTeam } from '../../src/domain/teams/teams.ts'
import { appOf, callerOf, teamOf } from '../lib/access.ts'
import { type Changed, changes } from '../lib/change.ts'
import { reads, writes } from '../lib/policy.ts'

const audited = (action: 'create' | 'update' | 'delete') => ({ type: 'app', action, resource: 'app' }) as const

export interface AppRoutesOptions {
  /** Whether apps may use git repositories on this machine. */
  readonly allowLocalGit: boolean
  /** The URL of an app; null while it is unknown. */
  readonly urlOf: (app: DeployedApp) => string | null
}

const apps: FastifyPluginCallbackTypebox<AppRoutesOptions> = (app, { allowLocalGit, urlOf }, done) => {
  const change = changes(app)

  app.get('/apps', {
    schema: schemas.listApps,
    config: { ...reads, access: PERMISSIONS.viewApps, slo: 'list' },
    handler: async request => {
      const { team, ...page } = request.query
      const { userId, teamId: only } = callerOf(request)
      const teamId = team === undefined ? only : (await teamOf(app, app.db, request, team)).id
      const { items, nextCursor } = await listApps(app.db, userId, { ...page, ...(teamId !== undefined && { teamId }) })
      return { items: items.map(present), nextCursor }
    }
  })

  app.post('/apps', {
    schema: schemas.createApp,
    config: { ...writes, access: PERMISSIONS.createApps, audit: audited('create') },
    handler: async (request, reply) => {
      const { team, ...wanted } = request.body
      const named = team ?? callerOf(request).teamId
      const inTeam = (db: Db) => (named ? teamOf(app, db, request, named) : homeOf(db, request))
      const settings = namesSource(wanted) ? await settled(await inTeam(app.db), null, wanted) : wanted
      return change(request, reply, async tx => {
        const { id } = await inTeam(tx)
        const created = await createApp(tx, id, settings)
        const location = `/api/v1/apps/${created.id}`
        return {
          status: 201,
          headers: { location, ...tagOf(created) },
          body: present(created),
          audit: eventOf(created, created)
        }
      })
    }
  })

  app.get('/apps/:app', {
    schema: schemas.getApp,
    config: { ...reads, access: PERMISSIONS.viewApps, slo: 'detail' },
    handler: async (request, reply) => {
      const found = await appOf(app, app.db, request)
      reply.headers(tagOf(found))
      return isKnown(request.headers['if-none-match'], found) ? reply.code(304).send() : present(found)
    }
  })

  app.put('/apps/:app', {
    schema: schemas.replaceApp,
    config: { ...writes, access: PERMISSIONS.changeApps, audit: audited('update') },
    handler: (request, reply) => update(request, reply, request.body)
  })

  app.patch('/apps/:app', {
    schema: schemas.updateApp,
    config: { ...writes, access: PERMISSIONS.changeApps, audit: audited('update') },
    handler: (request, reply) => update(request, reply, request.body)
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

  async function update(request: AppRequest, reply: FastifyReply, wanted: AppChanges) {
    const settings = namesSource(wanted) ? await settledFor(request, wanted) : wanted
    return change(request, reply, async tx => {
      const found = await appOf(app, tx, request)
      const changed = await changeApp(tx, found, settings, expectedVersion(request.headers['if-match'], found))
      const details = { ...changed, changed: Object.keys(wanted) }
      return { status: 200, headers: tagOf(changed), body: present(changed), audit: eventOf(changed, details) }
    })
  }

  async function settledFor(request: AppRequest, wanted: AppChanges): Promise<AppChanges> {
    const found = await appOf(app, app.db, request)
    return settled({ id: found.teamId }, found.id, wanted)
  }

  function settled<Changes extends AppChanges>(team: { id: string }, appId: string | null, wanted: Changes) {
    const github = app.hasDecorator('github') ? app.github : null
    return settledSource(app.db, wanted, { teamId: team.id, appId, github, allowLocalGit })
  }

  /** An app as the API sends it. */
  function present<Told extends App | ListedApp>(found: Told): Told & { url: string | null } {
    return { ...found, url: urlOf(found) }
  }

  done()
}

type AppRequest = FastifyRequest<{ Params: { app: string } }>

/** Whether the changes name a repository, which must be checked before the app is changed. */
function namesSource({ githubRepo, gitUrl }: AppChanges): boolean {
  return Boolean(githubRepo || gitUrl)
}

function tagOf(app: App): { etag: string } {
  return { etag: entityTag(app) }
}

/** The audit log keeps only the details that its catalogue allows. */
function eventOf(app: App, details: object): Changed['audit'] {
  return { resourceId: app.id, resourceName: app.name, teamId: app.teamId, appId: app.id, details: { ...details } }
}

export default apps
