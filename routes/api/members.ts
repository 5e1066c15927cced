import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/members.ts'
import { PERMISSIONS } from '../../src/domain/teams/access.ts'
import { listMembers } from '../../src/domain/teams/members.ts'
import { teamOf } from '../lib/access.ts'
import { changes } from '../lib/change.ts'
import { reads, writes } from '../lib/policy.ts'
import { teamActions } from '../lib/teams.ts'

const audited = (action: 'update' | 'remove') => ({ type: 'team', action, resource: 'member' }) as const

const members: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const change = changes(app)
  const actions = teamActions(app)

  app.get('/teams/:team/members', {
    schema: schemas.listMembers,
    config: { ...reads, access: PERMISSIONS.viewTeam, slo: 'list' },
    handler: async request => {
      const { id } = await teamOf(app, app.postgres.reads, request, request.params.team)
      return listMembers(app.postgres.reads, id, request.query)
    }
  })

  app.patch('/teams/:team/members/:user', {
    schema: schemas.updateMember,
    config: { ...writes, access: PERMISSIONS.changeRoles, changesOwnRole: true, audit: audited('update') },
    handler: (request, reply) => change(request, reply, tx => actions.changeRole(tx, request, request.body.role))
  })

  app.delete('/teams/:team/members/:user', {
    schema: schemas.removeMember,
    config: {
      ...writes,
      access: PERMISSIONS.removeMembers,
      accessSelf: PERMISSIONS.leaveTeam,
      audit: audited('remove')
    },
    handler: (request, reply) => change(request, reply, tx => actions.removeFrom(tx, request))
  })

  done()
}

export default members
