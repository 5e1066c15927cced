import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/installations.ts'
import { connectInstallation, listInstallations, searchRepositories } from '../../src/domain/github/installations.ts'
import { PERMISSIONS } from '../../src/domain/teams/access.ts'
import { teamOf } from '../lib/access.ts'
import { changes } from '../lib/change.ts'
import { eventOfInstallation, githubOf, installationAudit } from '../lib/github.ts'
import { reads, writes } from '../lib/policy.ts'
import { teamActions } from '../lib/teams.ts'

const installations: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const change = changes(app)
  const actions = teamActions(app)

  app.get('/teams/:team/installations', {
    schema: schemas.listInstallations,
    config: { ...reads, access: PERMISSIONS.viewTeam, slo: 'list' },
    handler: async request => {
      const { id } = await teamOf(app, app.postgres.reads, request, request.params.team)
      return listInstallations(app.postgres.reads, id, request.query)
    }
  })

  app.delete('/teams/:team/installations/:id', {
    schema: schemas.deleteInstallation,
    config: { ...writes, access: PERMISSIONS.manageInstallations, audit: installationAudit('disconnect') },
    handler: (request, reply) => change(request, reply, tx => actions.disconnect(tx, request))
  })

  app.get('/teams/:team/repositories', {
    schema: schemas.listRepositories,
    config: { ...reads, access: PERMISSIONS.createApps, slo: 'upstream' },
    handler: async request => {
      const { id } = await teamOf(app, app.db, request, request.params.team)
      return searchRepositories(app.db, githubOf(app), id, request.query)
    }
  })

  done()
}

/** The routes on which browsers go to GitHub and return. */
export const connecting: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const change = changes(app)
  const policy = { ...writes, access: PERMISSIONS.manageInstallations, page: true, cors: false } as const

  app.get('/github/connect', {
    schema: schemas.connectGithub,
    config: { ...policy, slo: 'detail' },
    handler: async (request, reply) => {
      const { id } = await teamOf(app, app.db, request, request.query.team)
      return reply.redirect(githubOf(app).connect(reply, id), 303)
    }
  })

  app.get('/github/callback', {
    schema: schemas.completeConnection,
    config: { ...policy, slo: 'upstream', audit: installationAudit('connect') },
    handler: async (request, reply) => {
      const connected = await githubOf(app).connected(request, reply)
      if ('redirect' in connected) return reply.redirect(connected.redirect, 303)
      return change(request, reply, async tx => {
        const team = await teamOf(app, tx, request, connected.teamId)
        const installation = await connectInstallation(tx, team.id, connected.installation)
        return {
          status: 303,
          headers: { location: `/teams/${team.slug}?done=connected#installations` },
          audit: eventOfInstallation(installation)
        }
      })
    }
  })

  done()
}

export default installations
