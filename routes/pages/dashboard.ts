import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { DeployedApp } from '../../integrations/deployer/port.ts'
import * as schemas from '../../schemas/pages.ts'
import { overviewApps, recentDeployments } from '../../src/domain/apps/overview.ts'
import { PERMISSIONS } from '../../src/domain/teams/access.ts'
import { dashboardPage } from '../../views/dashboard.ts'
import { withHealth } from '../lib/app-health.ts'
import { sendPage, teamInUrl } from '../lib/page.ts'
import { pages } from '../lib/policy.ts'

/** A dashboard with more apps would be unreadable. */
const MOST_APPS = 50
const MOST_DEPLOYMENTS = 10

export interface DashboardOptions {
  readonly urlOf: (app: DeployedApp) => string | null
}

const dashboard: FastifyPluginCallbackTypebox<DashboardOptions> = (app, { urlOf }, done) => {
  app.get('/dashboard', {
    schema: schemas.dashboard,
    config: { ...pages, access: PERMISSIONS.viewApps },
    handler: async (request, reply) => {
      const team = await teamInUrl(app, request)
      const [apps, recent] =
        team === undefined
          ? [[], []]
          : await Promise.all([
              overviewApps(app.postgres.reads, team.id, { limit: MOST_APPS }).then(found => withHealth(app, found)),
              recentDeployments(app.postgres.reads, team.id, MOST_DEPLOYMENTS)
            ])
      return sendPage(app, request, reply, dashboardPage({ team, apps, recent, urlOf }), team?.id)
    }
  })

  done()
}

export default dashboard
