import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/invitations.ts'
import { PERMISSIONS } from '../../src/domain/teams/access.ts'
import { acceptInvitation, invite, listInvitations, revokeInvitation } from '../../src/domain/teams/invitations.ts'
import { callerOf, lockedTeamOf, teamOf } from '../lib/access.ts'
import { changes } from '../lib/change.ts'
import { reads, writes } from '../lib/policy.ts'

const invitations: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const change = changes(app)

  app.get('/teams/:team/invitations', {
    schema: schemas.listInvitations,
    config: { ...reads, access: PERMISSIONS.inviteMembers, slo: 'list' },
    handler: async request => {
      const { id } = await teamOf(app, app.db, request, request.params.team)
      return listInvitations(app.db, id, request.query)
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
      change(request, reply, async tx => {
        const team = await lockedTeamOf(app, tx, request)
        const { email, role = 'member' } = request.body
        const { token, ...invitation } = await invite(tx, team, callerOf(request).userId, email, role)
        // Without the address: its owner may never have heard of this server, and audit rows are kept for over a year.
        const details = { invitation: invitation.id, role }
        const audit = { resourceId: team.id, resourceName: team.name, details }
        return { status: 201, body: invitation, shownOnce: { token }, audit }
      })
  })

  app.delete('/teams/:team/invitations/:id', {
    schema: schemas.revokeInvitation,
    config: {
      ...writes,
      access: PERMISSIONS.inviteMembers,
      audit: { type: 'team', action: 'revoke', resource: 'invitation' }
    },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const team = await lockedTeamOf(app, tx, request)
        const { id, role } = await revokeInvitation(tx, team.id, request.params.id)
        return { status: 204, audit: { resourceId: id, details: { role } } }
      })
  })

  app.post('/invitations/accept', {
    schema: schemas.acceptInvitation,
    config: {
      ...writes,
      access: 'authenticated',
      rateClass: 'auth',
      audit: { type: 'team', action: 'accept', resource: 'team' }
    },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const { userId } = callerOf(request)
        const { team, invitationId } = await acceptInvitation(tx, userId, request.body.token)
        const details = { invitation: invitationId, role: team.role }
        const audit = { resourceId: team.id, resourceName: team.name, teamId: team.id, details }
        return { status: 200, body: team, audit, committed: () => app.auth.forget(userId) }
      })
  })

  done()
}

export default invitations
