import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { Plan } from '../../drizzle/schema.ts'
import * as schemas from '../../schemas/teams.ts'
import { isKnown } from '../../src/domain/base/revision.ts'
import { PERMISSIONS } from '../../src/domain/teams/access.ts'
import { listTeams } from '../../src/domain/teams/teams.ts'
import { callerOf, teamOf } from '../lib/access.ts'
import { changes } from '../lib/change.ts'
import { reads, writes } from '../lib/policy.ts'
import { tagOf, teamActions } from '../lib/teams.ts'

const audited = (action: 'create' | 'update' | 'delete' | 'transfer') =>
  ({ type: 'team', action, resource: 'team' }) as const

export interface TeamsOptions {
  /** The plan of a new team. */
  readonly defaultPlan: Plan
}

const teams: FastifyPluginCallbackTypebox<TeamsOptions> = (app, { defaultPlan }, done) => {
  const change = changes(app)
  const actions = teamActions(app)

  app.get('/teams', {
    schema: schemas.listTeams,
    config: { ...reads, access: 'authenticated', slo: 'list' },
    handler: request => listTeams(app.postgres.reads, callerOf(request).userId, request.query)
  })

  app.post('/teams', {
    schema: schemas.createTeam,
    config: { ...writes, access: 'authenticated', audit: audited('create') },
    handler: (request, reply) => change(request, reply, tx => actions.create(tx, request, request.body, defaultPlan))
  })

  app.get('/teams/:team', {
    schema: schemas.getTeam,
    config: { ...reads, access: PERMISSIONS.viewTeam, slo: 'detail' },
    handler: async (request, reply) => {
      const found = await teamOf(app, app.postgres.reads, request, request.params.team)
      reply.headers(tagOf(found))
      return isKnown(request.headers['if-none-match'], found) ? reply.code(304).send() : found
    }
  })

  app.patch('/teams/:team', {
    schema: schemas.updateTeam,
    config: { ...writes, access: PERMISSIONS.renameTeam, audit: audited('update') },
    handler: (request, reply) => change(request, reply, tx => actions.rename(tx, request, request.body))
  })

  app.delete('/teams/:team', {
    schema: schemas.deleteTeam,
    config: { ...writes, access: PERMISSIONS.deleteTeam, stepUp: true, audit: audited('delete') },
    handler: (request, reply) => change(request, reply, tx => actions.remove(tx, request))
  })

  app.post('/teams/:team/transfer', {
    schema: schemas.transferTeam,
    config: { ...writes, access: PERMISSIONS.transferTeam, changesOwnRole: true, audit: audited('transfer') },
    handler: (request, reply) => change(request, reply, tx => actions.transfer(tx, request, request.body.user))
  })

  done()
}

export default teams
