import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/invitations.ts'
import { PERMISSIONS } from '../../src/domain/teams/access.ts'
import { listInvitations } from '../../src/domain/teams/invitations.ts'
import { teamOf } from '../lib/access.ts'
import { changes } from '../lib/change.ts'
import { reads, writes } from '../lib/policy.ts'
import { teamActions } from '../lib/teams.ts'

const invitations: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const change = changes(app)
  const actions = teamActions(app)

  app.get('/teams/:team/invitations', {
    schema: schemas.listInvitations,
    config: { ...reads, access: PERMISSIONS.inviteMembers, slo: 'list' },
    handler: async request => {
      const { id } = await teamOf(app, app.postgres.reads, request, request.params.team)
      return listInvitations(app.postgres.reads, id, request.query)
    }
  })

  app.post('/teams/:team/invitations', {
    schema: schemas.createInvitation,
    config: {
      ...writes,
      access: PERMISSIONS.inviteMembers,
      rateClass: 'strict',
      audit: { type: 'team', action: 'invite', resource: 'team' }
    },
    handler: (request, reply) =>
      change(request, reply, tx => actions.invite(tx, request, request.body.email, request.body.role))
  })

  app.delete('/teams/:team/invitations/:id', {
    schema: schemas.revokeInvitation,
    config: {
      ...writes,
      access: PERMISSIONS.inviteMembers,
      audit: { type: 'team', action: 'revoke', resource: 'invitation' }
    },
    handler: (request, reply) => change(request, reply, tx => actions.revoke(tx, request))
  })

  app.post('/invitations/accept', {
    schema: schemas.acceptInvitation,
    config: {
      ...writes,
      access: 'authenticated',
      rateClass: 'auth',
      audit: { type: 'team', action: 'accept', resource: 'team' }
    },
    handler: (request, reply) => change(request, reply, tx => actions.accept(tx, request, request.body.token))
  })

  done()
}

export default invitations
