import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Principal } from '../../plugins/auth/index.ts'
import { errors } from '../../plugins/lib/errors.ts'
import type { Db } from '../../src/domain/base/db.ts'
import {
  type App,
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
    /** The role that suffices for a caller who is the `:user` of the URL; others need the one in `access`. */
    accessSelf?: Role
    /** The change may take away the caller's role, so a replay only requires membership of the team. */
    changesOwnRole?: true
  }
}

/** The team that a request is about, once loaded. */
const subjects = new WeakMap<FastifyRequest, string>()

export const subjectOf = (request: FastifyRequest): string | undefined => subjects.get(request)

type AppRequest = FastifyRequest<{ Params: { app: string } }>
type TeamRequest = FastifyRequest<{ Params: { team: string } }>

/** The caller of a route that is not public. */
export function callerOf(request: FastifyRequest): Principal {
  return request.principal!
}

/** Loads the team of a request, and checks that the caller has the role in the route's `config.access`. */
export async function teamOf(app: FastifyInstance, db: Db, request: FastifyRequest, idOrSlug: string): Promise<Team> {
  const team = await findTeam(db, callerOf(request).userId, idOrSlug, purposeOf(request))
  return admit(app, request, team)
}

/** The same for a change of the team or of its members; such changes are serialized. */
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

/**
 * Loads the app of a request, and checks that the caller has the needed role in its team: by default that of the
 * route's `config.access`.
 */
export async function appOf(app: FastifyInstance, db: Db, request: AppRequest, needed = neededRole(request)) {
  const { role, ...found } = await findApp(db, callerOf(request).userId, request.params.app, purposeOf(request))
  admitTo(found, role, needed, app, request)
  return found
}

/** The same without a lock, whatever the request, and with the caller's role. */
export async function appAsSeen(app: FastifyInstance, db: Db, request: AppRequest) {
  const found = await findApp(db, callerOf(request).userId, request.params.app, 'read')
  admitTo(found, found.role, neededRole(request), app, request)
  return found
}

function admitTo(found: App, role: Role, needed: Role, app: FastifyInstance, request: AppRequest): void {
  refuseOtherTeams(request, found.teamId, 'app')
  subjects.set(request, found.teamId)
  app.audit?.about(request, { teamId: found.teamId, appId: found.id, resourceId: found.id, resourceName: found.name })
  requireRole(role, needed)
}

/** Refuses a replay to a caller who has left the team or lost the role. */
export async function admitAgain(db: Db, request: FastifyRequest, teamId: string): Promise<void> {
  const { access, changesOwnRole } = request.routeOptions.config
  if (access === 'operator') return
  refuseOtherTeams(request, teamId, 'team')
  const { role } = await findTeam(db, callerOf(request).userId, teamId)
  if (changesOwnRole !== true) requireRole(role, neededRole(request))
}

/** A token that is restricted to one team has no access to others. */
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
