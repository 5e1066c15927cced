import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/admin.ts'
import { setOperator } from '../../src/domain/accounts/operators.ts'
import { findListedUser, listUsers } from '../../src/domain/accounts/users.ts'
import { platformStats } from '../../src/domain/platform/stats.ts'
import { setPlan } from '../../src/domain/teams/teams.ts'
import { usersPage } from '../../views/admin/lists.ts'
import { cached } from '../lib/cached.ts'
import { changes } from '../lib/change.ts'
import { dropEmpty, sendPage, wantsPage } from '../lib/page.ts'
import { operatorLists, operators } from '../lib/policy.ts'

const admin: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const stats = cached(app, 'admin_stats', () => platformStats(app.db))
  const change = changes(app)

  app.get('/stats', {
    schema: schemas.getStats,
    config: { ...operators, slo: 'detail' },
    handler: () => stats('all')
  })

  app.get('/users', {
    schema: schemas.listUsers,
    config: { ...operatorLists, slo: 'list' },
    preValidation: dropEmpty,
    handler: async (request, reply) => {
      const { limit, cursor, done: _done, ...filters } = request.query
      const found = await listUsers(app.db, filters, { limit, cursor })
      if (!wantsPage(request, reply)) return found
      return sendPage(app, request, reply, usersPage({ ...found, query: request.query }))
    }
  })

  app.patch('/users/:user', {
    schema: schemas.updateUser,
    config: {
      ...operators,
      slo: 'write',
      stepUp: true,
      audit: { type: 'admin', action: 'change', resource: 'operator' }
    },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const { isOperator } = request.body
        const { user, changed } = await setOperator(tx, request.params.user, isOperator)
        const action = isOperator ? 'grant' : 'revoke'
        return {
          status: 200,
          body: await findListedUser(tx, user.id),
          audit: changed ? { action, resourceId: user.id, resourceName: user.username } : null,
          committed: () => app.auth.forget(user.id)
        }
      })
  })

  app.patch('/teams/:team', {
    schema: schemas.updateTeamPlan,
    config: { ...operators, slo: 'write', audit: { type: 'billing', action: 'plan', resource: 'billing' } },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const { plan } = request.body
        const { team, from } = await setPlan(tx, request.params.team, plan)
        const details = { from, to: plan }
        const audit = { teamId: team.id, resourceId: team.id, resourceName: team.name, details }
        return { status: 200, body: team, audit: from === plan ? null : audit }
      })
  })

  done()
}

export default admin
