import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Principal } from '../../plugins/auth/index.ts'
import { errors } from '../../plugins/lib/errors.ts'
import type { Db } from '../../src/domain/base/db.ts'
import {
  findApp,
  findTeam,
  lockTeam,
  type Purpose,
  type Role,
  requireRole,
  type Team
} from '../../src/domain/teams/access.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The role that is enough for a caller who is the `:user` of the URL, where others need that of `access`. */
    accessSelf?: Role
    /** The change may take away the role that it needs; a replay of it needs no more than to be in the team. */
    changesOwnRole?: true
  }
}

/** The team that a request was found to be about. */
const subjects = new WeakMap<FastifyRequest, string>()

export const subjectOf = (request: FastifyRequest): string | undefined => subjects.get(request)

type AppRequest = FastifyRequest<{ Params: { app: string } }>
type TeamRequest = FastifyRequest<{ Params: { team: string } }>

/** Who sends a request to a route that is not public: there is always somebody. */
export function callerOf(request: FastifyRequest): Principal {
  return request.principal!
}

/** The team that a request names, if the caller has in it the role that the route's `config.access` asks for. */
export async function teamOf(app: FastifyInstance, db: Db, request: FastifyRequest, idOrSlug: string): Promise<Team> {
  const team = await findTeam(db, callerOf(request).userId, idOrSlug, purposeOf(request))
  return admit(app, request, team)
}

/** The same for a change of the team itself, or of who is in it: such changes come one after the other. */
export async function lockedTeamOf(app: FastifyInstance, tx: Db, request: TeamRequest): Promise<Team> {
  const team = await lockTeam(tx, callerOf(request).userId, request.params.team)
  return admit(app, request, team)
}

function admit(app: FastifyInstance, request: FastifyRequest, team: Team): Team {
  refuseOtherTeams(request, team.id, 'team')
  subjects.set(request, team.id)
  app.audit?.about(request, { teamId: team.id })
  requireRole(team.role, neededRole(request))
  return team
}

/** The app that a request is about, if the caller has in its team the role that the route's `config.access` asks for. */
export async function appOf(app: FastifyInstance, db: Db, request: AppRequest) {
  const { userId } = callerOf(request)
  const { role, ...found } = await findApp(db, userId, request.params.app, purposeOf(request))
  refuseOtherTeams(request, found.teamId, 'app')
  subjects.set(request, found.teamId)
  app.audit?.about(request, { teamId: found.teamId, appId: found.id, resourceId: found.id, resourceName: found.name })
  requireRole(role, neededRole(request))
  return found
}

/** Refuses to tell again what a change was answered, to a caller who has left its team or lost the role for it. */
export async function admitAgain(db: Db, request: FastifyRequest, teamId: string): Promise<void> {
  const { access, changesOwnRole } = request.routeOptions.config
  if (access === 'operator') return
  refuseOtherTeams(request, teamId, 'team')
  const { role } = await findTeam(db, callerOf(request).userId, teamId)
  if (changesOwnRole !== true) requireRole(role, neededRole(request))
}

/** For a token that is restricted to one team there are no others. */
function refuseOtherTeams(request: FastifyRequest, teamId: string, what: 'team' | 'app'): void {
  const { teamId: only } = callerOf(request)
  if (only !== undefined && only !== teamId) throw errors.notFound(what)
}

function purposeOf({ method }: FastifyRequest): Purpose {
  return method === 'GET' || method === 'HEAD' ? 'read' : 'change'
}

function neededRole(request: FastifyRequest): Role {
  const { access, accessSelf } = request.routeOptions.config
  const { user } = request.params as { user?: string }
  const isSelf = accessSelf !== undefined && user?.toLowerCase() === callerOf(request).userId
  return (isSelf ? accessSelf : access) as Role
}
