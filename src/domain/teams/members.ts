import { and, desc, eq, isNull, ne, sql } from 'drizzle-orm'
import { type Role, teamMembers, users } from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import { announce } from '../accounts/tokens.ts'
import { type Db, repeatableRead } from '../base/db.ts'
import { afterBoundCursor, microseconds, type Page, type PageRequest, pageValues, toPage } from '../base/page.ts'
import { allows, type Team } from './access.ts'
import { revokeInvitationsOf } from './invitations.ts'

export interface Member {
  id: string
  username: string
  avatarUrl: string | null
  role: Role
  createdAt: Date
}

const fields = {
  id: users.id,
  username: users.username,
  avatarUrl: users.avatarUrl,
  role: teamMembers.role,
  createdAt: teamMembers.createdAt
}

const membersOfTeam = repeatableRead(db =>
  db
    .select({ ...fields, at: microseconds(teamMembers.createdAt) })
    .from(teamMembers)
    .innerJoin(users, eq(users.id, teamMembers.userId))
    .where(
      and(
        eq(teamMembers.teamId, sql.placeholder('team')),
        afterBoundCursor({ createdAt: teamMembers.createdAt, id: teamMembers.userId })
      )
    )
    .orderBy(desc(teamMembers.createdAt), desc(teamMembers.userId))
    .limit(sql.placeholder('limit'))
    .prepare('members_of_team')
)

/** The members of a team, newest first. */
export async function listMembers(db: Db, teamId: string, request: PageRequest): Promise<Page<Member>> {
  const rows = await membersOfTeam(db).execute({ team: teamId, ...pageValues(request) })
  return toPage(rows, request.limit)
}

/*
 * Get the team from `lockTeam` for the following functions, so that the second of two concurrent changes sees the
 * first.
 */

/** Changes a member's role. Does nothing if the member has it already. */
export async function changeRole(tx: Db, team: Team, userId: string, role: Role) {
  const member = await findMember(tx, team.id, userId)
  if (member.role === role) return { member, from: role }
  if (member.role === 'owner') await requireAnotherOwner(tx, team.id, userId)
  await setRole(tx, team.id, userId, role)
  return { member: { ...member, role }, from: member.role }
}

/** Removes a member. The caller's role must be at least the member's; callers may remove themselves. */
export async function removeMember(tx: Db, team: Team, userId: string): Promise<Member> {
  const member = await findMember(tx, team.id, userId)
  if (!allows(team.role, member.role)) throw errors.forbidden(`This needs the role ${member.role} in the team`)
  if (member.role === 'owner') await requireAnotherOwner(tx, team.id, userId)
  await tx.delete(teamMembers).where(isMember(team.id, userId))
  await revokeInvitationsOf(tx, team.id, userId)
  await announce(tx, userId)
  return member
}

/** Makes another member the owner, and the current owner an admin. */
export async function transferTeam(tx: Db, team: Team, fromId: string, toId: string): Promise<Team> {
  if (fromId === toId) throw errors.conflict('You already own the team')
  const heir = await findMember(tx, team.id, toId)
  if (heir.leaving) throw errors.conflict(`${heir.username} has deleted their account`)
  await setRole(tx, team.id, toId, 'owner')
  await setRole(tx, team.id, fromId, 'admin')
  return { ...team, role: 'admin' }
}

async function findMember(tx: Db, teamId: string, userId: string) {
  const [member] = await tx
    .select({ ...fields, leaving: sql<boolean>`${users.eraseAfter} is not null` })
    .from(teamMembers)
    .innerJoin(users, eq(users.id, teamMembers.userId))
    .where(isMember(teamId, userId))
  if (member === undefined) throw errors.notFound('member')
  return member
}

/** Owners who have deleted their account do not count. */
async function requireAnotherOwner(tx: Db, teamId: string, userId: string): Promise<void> {
  const [other] = await tx
    .select({ id: users.id })
    .from(teamMembers)
    .innerJoin(users, eq(users.id, teamMembers.userId))
    .where(
      and(
        eq(teamMembers.teamId, teamId),
        eq(teamMembers.role, 'owner'),
        ne(teamMembers.userId, userId),
        isNull(users.eraseAfter)
      )
    )
    .limit(1)
  if (other === undefined)
    throw errors.conflict('A team needs an owner: make somebody else the owner first, or delete the team')
}

async function setRole(tx: Db, teamId: string, userId: string, role: Role): Promise<void> {
  await tx.update(teamMembers).set({ role }).where(isMember(teamId, userId))
  if (role === 'member') await revokeInvitationsOf(tx, teamId, userId)
  await announce(tx, userId)
}

function isMember(teamId: string, userId: string) {
  return and(eq(teamMembers.teamId, teamId), eq(teamMembers.userId, userId))
}
