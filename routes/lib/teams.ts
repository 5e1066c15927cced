import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Plan, Role } from '../../drizzle/schema.ts'
import type { Db } from '../../src/domain/base/db.ts'
import { entityTag, expectedVersion } from '../../src/domain/base/revision.ts'
import { disconnectInstallation } from '../../src/domain/github/installations.ts'
import type { Team } from '../../src/domain/teams/access.ts'
import {
  acceptInvitation,
  type InvitedRole,
  invite as inviteAddress,
  inviteAgain,
  revokeInvitation
} from '../../src/domain/teams/invitations.ts'
import { changeRole as changeRoleOf, removeMember, transferTeam } from '../../src/domain/teams/members.ts'
import { createTeam, deleteTeam, type NewTeam, renameTeam } from '../../src/domain/teams/teams.ts'
import { callerOf, lockedTeamOf, teamOf } from './access.ts'
import type { Changed } from './change.ts'
import { eventOfInstallation } from './github.ts'

type TeamRequest = FastifyRequest<{ Params: { team: string } }>
type MemberRequest = FastifyRequest<{ Params: { team: string; user: string } }>
/** A request about something of a team, such as an invitation. */
type ItemRequest = FastifyRequest<{ Params: { team: string; id: string } }>

/** The result of a change to a team, for the API and for pages. */
export interface TeamChanged extends Changed {
  readonly team: Team
}

/** Changes of teams and of what belongs to them, for the API and for pages. Each runs in a transaction. */
export function teamActions(app: FastifyInstance) {
  async function create(tx: Db, request: FastifyRequest, wanted: NewTeam, plan: Plan): Promise<TeamChanged> {
    const team = await createTeam(tx, callerOf(request).userId, wanted, plan)
    const headers = { location: `/api/v1/teams/${team.id}`, ...tagOf(team) }
    return { status: 201, headers, body: team, audit: eventOf(team, { slug: team.slug }), team }
  }

  async function rename(tx: Db, request: TeamRequest, wanted: Partial<NewTeam>): Promise<TeamChanged> {
    const found = await lockedTeamOf(app, tx, request)
    expectedVersion(request.headers['if-match'], found)
    const team = await renameTeam(tx, found, wanted)
    const audit = eventOf(team, { before: namesOf(found), after: namesOf(team) })
    return { status: 200, headers: tagOf(team), body: team, audit, team }
  }

  async function remove(tx: Db, request: TeamRequest): Promise<Changed> {
    const found = await lockedTeamOf(app, tx, request)
    expectedVersion(request.headers['if-match'], found)
    await deleteTeam(tx, found)
    return { status: 204, audit: eventOf(found, { slug: found.slug }) }
  }

  async function transfer(tx: Db, request: TeamRequest, user: string): Promise<TeamChanged> {
    const [from, to] = [callerOf(request).userId, user.toLowerCase()]
    const team = await transferTeam(tx, await lockedTeamOf(app, tx, request), from, to)
    return { status: 200, headers: tagOf(team), body: team, audit: eventOf(team, { from, to }), team }
  }

  async function changeRole(tx: Db, request: MemberRequest, role: Role): Promise<TeamChanged> {
    const team = await lockedTeamOf(app, tx, request)
    const { member, from } = await changeRoleOf(tx, team, request.params.user.toLowerCase(), role)
    const isSame = from === member.role
    const audit = isSame ? null : { ...named(member), details: { from, to: member.role } }
    return { status: 200, body: member, audit, committed: () => app.auth.forget(member.id), team }
  }

  async function removeFrom(tx: Db, request: MemberRequest): Promise<TeamChanged & { isSelf: boolean }> {
    const team = await lockedTeamOf(app, tx, request)
    const removed = await removeMember(tx, team, request.params.user.toLowerCase())
    const isSelf = removed.id === callerOf(request).userId
    const audit = { ...named(removed), action: isSelf ? 'leave' : 'remove', details: { role: removed.role } }
    return { status: 204, audit, committed: () => app.auth.forget(removed.id), team, isSelf }
  }

  async function invite(tx: Db, request: TeamRequest, email: string, role: InvitedRole = 'member') {
    const team = await lockedTeamOf(app, tx, request)
    return invited(team, await inviteAddress(tx, team, callerOf(request).userId, email, role))
  }

  async function again(tx: Db, request: ItemRequest) {
    const team = await lockedTeamOf(app, tx, request)
    return invited(team, await inviteAgain(tx, team, callerOf(request).userId, request.params.id))
  }

  function invited(team: Team, made: Awaited<ReturnType<typeof inviteAddress>>) {
    const { token, ...invitation } = made
    // Without the address: its owner may never have heard of this server, and audit rows are kept for over a year.
    const details = { invitation: invitation.id, role: invitation.role }
    const audit = { resourceId: team.id, resourceName: team.name, details }
    return { status: 201, body: invitation, shownOnce: { token }, audit, team }
  }

  async function revoke(tx: Db, request: ItemRequest): Promise<TeamChanged> {
    const team = await lockedTeamOf(app, tx, request)
    const { id, role } = await revokeInvitation(tx, team.id, request.params.id)
    return { status: 204, audit: { resourceId: id, details: { role } }, team }
  }

  async function disconnect(tx: Db, request: ItemRequest): Promise<TeamChanged> {
    const team = await teamOf(app, tx, request, request.params.team)
    const removed = await disconnectInstallation(tx, team.id, request.params.id)
    return { status: 204, audit: eventOfInstallation(removed), team }
  }

  async function accept(tx: Db, request: FastifyRequest, token: string): Promise<TeamChanged> {
    const { userId } = callerOf(request)
    const { team, invitationId } = await acceptInvitation(tx, userId, token)
    const audit = eventOf(team, { invitation: invitationId, role: team.role })
    return { status: 200, body: team, audit, committed: () => app.auth.forget(userId), team }
  }

  return { create, rename, remove, transfer, changeRole, removeFrom, invite, again, revoke, disconnect, accept }
}

export function tagOf(team: Team): { etag: string } {
  return { etag: entityTag(team) }
}

function namesOf({ name, slug }: Team): { name: string; slug: string } {
  return { name, slug }
}

function eventOf(team: Team, details: object): Changed['audit'] {
  return { resourceId: team.id, resourceName: team.name, teamId: team.id, details: { ...details } }
}

function named({ id, username }: { id: string; username: string }) {
  return { resourceId: id, resourceName: username }
}
