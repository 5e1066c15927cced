import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/members.ts'
import { PERMISSIONS } from '../../src/domain/teams/access.ts'
import { changeRole, listMembers, removeMember } from '../../src/domain/teams/members.ts'
import { callerOf, lockedTeamOf, teamOf } from '../lib/access.ts'
import { changes } from '../lib/change.ts'
import { reads, writes } from '../lib/policy.ts'

const audited = (action: 'update' | 'remove') => ({ type: 'team', action, resource: 'member' }) as const

const members: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const change = changes(app)

  app.get('/teams/:team/members', {
    schema: schemas.listMembers,
    config: { ...reads, access: PERMISSIONS.viewTeam, slo: 'list' },
    handler: async request => {
      const { id } = await teamOf(app, app.db, request, request.params.team)
      return listMembers(app.db, id, request.query)
    }
  })

  app.patch('/teams/:team/members/:user', {
    schema: schemas.updateMember,
    config: { ...writes, access: PERMISSIONS.changeRoles, changesOwnRole: true, audit: audited('update') },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const team = await lockedTeamOf(app, tx, request)
        const { member, from } = await changeRole(tx, team, request.params.user.toLowerCase(), request.body.role)
        const isSame = from === member.role
        const audit = isSame ? null : { ...named(member), details: { from, to: member.role } }
        return { status: 200, body: member, audit, committed: () => app.auth.forget(member.id) }
      })
  })

  app.delete('/teams/:team/members/:user', {
    schema: schemas.removeMember,
    config: {
      ...writes,
      access: PERMISSIONS.removeMembers,
      accessSelf: PERMISSIONS.leaveTeam,
      audit: audited('remove')
    },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const team = await lockedTeamOf(app, tx, request)
        const removed = await removeMember(tx, team, request.params.user.toLowerCase())
        const action = removed.id === callerOf(request).userId ? 'leave' : 'remove'
        const audit = { ...named(removed), action, details: { role: removed.role } }
        return { status: 204, audit, committed: () => app.auth.forget(removed.id) }
      })
  })

  done()
}

function named({ id, username }: { id: string; username: string }) {
  return { resourceId: id, resourceName: username }
}

export default members
