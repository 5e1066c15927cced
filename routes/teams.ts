import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../schemas/teams.ts'
import { PERMISSIONS } from '../src/domain/access.ts'
import { listTeams } from '../src/domain/teams.ts'
import { callerOf, teamOf } from './lib/access.ts'
import { reads } from './lib/policy.ts'

const teams: FastifyPluginCallbackTypebox = (app, _options, done) => {
  app.get('/teams', {
    schema: schemas.listTeams,
    config: { ...reads, access: 'authenticated', slo: 'list' },
    handler: request => listTeams(app.db, callerOf(request).userId, request.query)
  })

  app.get('/teams/:team', {
    schema: schemas.getTeam,
    config: { ...reads, access: PERMISSIONS.viewTeam, slo: 'detail' },
    handler: request => teamOf(app, app.db, request, request.params.team)
  })

  done()
}

export default teams
