import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/account-pages.ts'
import { MEMBER_LIMITS } from '../../src/domain/billing/plans.ts'
import { countUsage } from '../../src/domain/billing/usage.ts'
import { findTeam, PERMISSIONS } from '../../src/domain/teams/access.ts'
import { billingPage } from '../../views/billing.ts'
import { callerOf } from '../lib/access.ts'
import { sendPage, teamInUrl } from '../lib/page.ts'
import { pages } from '../lib/policy.ts'

/** The plan of a team. */
const billing: FastifyPluginCallbackTypebox = (app, _options, done) => {
  app.get('/billing', {
    schema: schemas.billingPage,
    config: { ...pages, access: PERMISSIONS.viewTeam },
    handler: async (request, reply) => {
      const link = await teamInUrl(app, request)
      if (link === undefined) return sendPage(app, request, reply, billingPage(null))
      const [team, usage] = await Promise.all([
        findTeam(app.db, callerOf(request).userId, link.id),
        countUsage(app.db, link.id)
      ])
      const memberLimit = MEMBER_LIMITS[team.plan]
      return sendPage(app, request, reply, billingPage({ team, usage, memberLimit }), team.id)
    }
  })

  done()
}

export default billing
