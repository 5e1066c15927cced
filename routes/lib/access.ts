import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Principal } from '../../plugins/auth/index.ts'
import { errors } from '../../plugins/lib/errors.ts'
import { findApp, findTeam, type Role, requireRole } from '../../src/domain/access.ts'
import type { Db } from '../../src/domain/db.ts'

type AppRequest = FastifyRequest<{ Params: { app: string } }>

/** Who sends a request to a route that is not public: there is always somebody. */
export function callerOf(request: FastifyRequest): Principal {
  return request.principal!
}

/** The team that a request names, if the caller has in it the role that the route's `config.access` asks for. */
export async function teamOf(app: FastifyInstance, db: Db, request: FastifyRequest, idOrSlug: string) {
  const team = await findTeam(db, callerOf(request).userId, idOrSlug)
  refuseOtherTeams(request, team.id, 'team')
  app.audit?.about(request, { teamId: team.id })
  requireRole(team.role, request.routeOptions.config.access as Role)
  return team
}

/** The app that a request is about, if the caller has in its team the role that the route's `config.access` asks for. */
export async function appOf(app: FastifyInstance, db: Db, request: AppRequest) {
  const { role, ...found } = await findApp(db, callerOf(request).userId, request.params.app)
  refuseOtherTeams(request, found.teamId, 'app')
  app.audit?.about(request, { teamId: found.teamId, appId: found.id, resourceId: found.id, resourceName: found.name })
  requireRole(role, request.routeOptions.config.access as Role)
  return found
}

/** For a token that is restricted to one team there are no others. */
function refuseOtherTeams(request: FastifyRequest, teamId: string, what: 'team' | 'app'): void {
  const { teamId: only } = callerOf(request)
  if (only !== undefined && only !== teamId) throw errors.notFound(what)
}
