import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { Plan } from '../../drizzle/schema.ts'
import * as schemas from '../../schemas/teams.ts'
import { entityTag, expectedVersion, isKnown } from '../../src/domain/base/revision.ts'
import { PERMISSIONS, type Team } from '../../src/domain/teams/access.ts'
import { transferTeam } from '../../src/domain/teams/members.ts'
import { createTeam, deleteTeam, listTeams, renameTeam } from '../../src/domain/teams/teams.ts'
import { callerOf, lockedTeamOf, teamOf } from '../lib/access.ts'
import { type Changed, changes } from '../lib/change.ts'
import { reads, writes } from '../lib/policy.ts'

const audited = (action: 'create' | 'update' | 'delete' | 'transfer') =>
  ({ type: 'team', action, resource: 'team' }) as const

export interface TeamsOptions {
  /** The plan of a new team. */
  readonly defaultPlan: Plan
}

const teams: FastifyPluginCallbackTypebox<TeamsOptions> = (app, { defaultPlan }, done) => {
  const change = changes(app)

  app.get('/teams', {
    schema: schemas.listTeams,
    config: { ...reads, access: 'authenticated', slo: 'list' },
    handler: request => listTeams(app.db, callerOf(request).userId, request.query)
  })

  app.post('/teams', {
    schema: schemas.createTeam,
    config: { ...writes, access: 'authenticated', audit: audited('create') },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const created = await createTeam(tx, callerOf(request).userId, request.body, defaultPlan)
        const headers = { location: `/api/v1/teams/${created.id}`, ...tagOf(created) }
        return { status: 201, headers, body: created, audit: eventOf(created, { slug: created.slug }) }
      })
  })

  app.get('/teams/:team', {
    schema: schemas.getTeam,
    config: { ...reads, access: PERMISSIONS.viewTeam, slo: 'detail' },
    handler: async (request, reply) => {
      const found = await teamOf(app, app.db, request, request.params.team)
      reply.headers(tagOf(found))
      return isKnown(request.headers['if-none-match'], found) ? reply.code(304).send() : found
    }
  })

  app.patch('/teams/:team', {
    schema: schemas.updateTeam,
    config: { ...writes, access: PERMISSIONS.renameTeam, audit: audited('update') },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const found = await lockedTeamOf(app, tx, request)
        expectedVersion(request.headers['if-match'], found)
        const changed = await renameTeam(tx, found, request.body)
        const audit = eventOf(changed, { before: namesOf(found), after: namesOf(changed) })
        return { status: 200, headers: tagOf(changed), body: changed, audit }
      })
  })

  app.delete('/teams/:team', {
    schema: schemas.deleteTeam,
    config: { ...writes, access: PERMISSIONS.deleteTeam, stepUp: true, audit: audited('delete') },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const found = await lockedTeamOf(app, tx, request)
        expectedVersion(request.headers['if-match'], found)
        await deleteTeam(tx, found)
        return { status: 204, audit: eventOf(found, { slug: found.slug }) }
      })
  })

  app.post('/teams/:team/transfer', {
    schema: schemas.transferTeam,
    config: { ...writes, access: PERMISSIONS.transferTeam, changesOwnRole: true, audit: audited('transfer') },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const [from, to] = [callerOf(request).userId, request.body.user.toLowerCase()]
        const changed = await transferTeam(tx, await lockedTeamOf(app, tx, request), from, to)
        return { status: 200, headers: tagOf(changed), body: changed, audit: eventOf(changed, { from, to }) }
      })
  })

  done()
}

function tagOf(team: Team): { etag: string } {
  return { etag: entityTag(team) }
}

function namesOf({ name, slug }: Team): { name: string; slug: string } {
  return { name, slug }
}

function eventOf(team: Team, details: object): Changed['audit'] {
  return { resourceId: team.id, resourceName: team.name, teamId: team.id, details: { ...details } }
}

export default teams
