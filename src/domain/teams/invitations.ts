import { createHash, randomBytes } from 'node:crypto'
import { and, desc, eq, gt, isNotNull, isNull, lte, sql } from 'drizzle-orm'
import { type Plan, type Role, teamInvitations, teamMembers, teams, users } from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import { type Db, repeatableRead } from '../base/db.ts'
import { afterBoundCursor, microseconds, type PageRequest, pageValues, toPage } from '../base/page.ts'
import { MEMBER_LIMITS } from '../billing/plans.ts'
import { allows, type Team } from './access.ts'

export type InvitedRole = Exclude<Role, 'owner'>

const TOKEN_BYTES = 32
const LIFETIME = sql`interval '7 days'`

const state = sql<'pending' | 'accepted' | 'revoked' | 'expired'>`case
  when ${teamInvitations.acceptedAt} is not null then 'accepted'
  when ${teamInvitations.revokedAt} is not null then 'revoked'
  when ${teamInvitations.expiresAt} <= now() then 'expired'
  else 'pending' end`

const fields = {
  id: teamInvitations.id,
  email: teamInvitations.email,
  role: teamInvitations.role,
  state,
  invitedBy: teamInvitations.invitedBy,
  expiresAt: teamInvitations.expiresAt,
  createdAt: teamInvitations.createdAt
}

const isOpen = and(isNull(teamInvitations.acceptedAt), isNull(teamInvitations.revokedAt))

const invitationsOfTeam = repeatableRead(db =>
  db
    .select({ ...fields, at: microseconds(teamInvitations.createdAt) })
    .from(teamInvitations)
    .where(and(eq(teamInvitations.teamId, sql.placeholder('team')), afterBoundCursor(teamInvitations)))
    .orderBy(desc(teamInvitations.createdAt), desc(teamInvitations.id))
    .limit(sql.placeholder('limit'))
    .prepare('invitations_of_team')
)

/** The invitations to a team, newest first, including past ones until retention removes them. */
export async function listInvitations(db: Db, teamId: string, request: PageRequest) {
  const rows = await invitationsOfTeam(db).execute({ team: teamId, ...pageValues(request) })
  return toPage(rows, request.limit)
}

/**
 * Invites an address to a team. The returned token is its only copy.
 *
 * @param team from {@link lockTeam}, so that two concurrent invitations cannot take the same last place
 */
export async function invite(tx: Db, team: Team, by: string, address: string, role: InvitedRole) {
  if (!allows(team.role, role)) throw errors.forbidden(`This needs the role ${role} in the team`)
  const email = address.toLowerCase()
  await endExpired(tx, team.id, email)
  await refuseDuplicate(tx, team.id, email)
  await requirePlace(tx, team, await openInvitations(tx, team.id))

  const token = randomBytes(TOKEN_BYTES).toString('hex')
  const [invitation] = await tx
    .insert(teamInvitations)
    .values({
      teamId: team.id,
      email,
      role,
      invitedBy: by,
      tokenHash: hashInvitation(token),
      expiresAt: sql`now() + ${LIFETIME}`
    })
    .returning(fields)
  return { ...invitation!, token }
}

/** Revokes an expired invitation, so that the address can be invited again. */
async function endExpired(tx: Db, teamId: string, email: string): Promise<void> {
  await tx
    .update(teamInvitations)
    .set({ revokedAt: sql`now()` })
    .where(
      and(
        eq(teamInvitations.teamId, teamId),
        eq(teamInvitations.email, email),
        isOpen,
        lte(teamInvitations.expiresAt, sql`now()`)
      )
    )
}

async function refuseDuplicate(tx: Db, teamId: string, email: string): Promise<void> {
  const [pending] = await tx
    .select({ id: teamInvitations.id })
    .from(teamInvitations)
    .where(and(eq(teamInvitations.teamId, teamId), eq(teamInvitations.email, email), isOpen))
  if (pending !== undefined) throw errors.conflict('This address is already invited')

  const [member] = await tx
    .select({ id: users.id })
    .from(teamMembers)
    .innerJoin(users, eq(users.id, teamMembers.userId))
    .where(and(eq(teamMembers.teamId, teamId), eq(sql`lower(${users.email})`, email)))
    .limit(1)
  if (member !== undefined) throw errors.conflict('A member of the team has this address')
}

function openInvitations(tx: Db, teamId: string): Promise<number> {
  return tx.$count(
    teamInvitations,
    and(eq(teamInvitations.teamId, teamId), isOpen, gt(teamInvitations.expiresAt, sql`now()`))
  )
}

/**
 * The places of a team: how many are taken, how many open invitations reserve, and the limit; null if there is none.
 */
export async function placesOf(db: Db, { id, plan }: { id: string; plan: Plan }) {
  const [members, invited] = await Promise.all([
    db.$count(teamMembers, eq(teamMembers.teamId, id)),
    openInvitations(db, id)
  ])
  const limit = MEMBER_LIMITS[plan]
  return { members, invited, limit: Number.isFinite(limit) ? limit : null }
}

/** @param promised places reserved by open invitations */
async function requirePlace(tx: Db, team: { id: string; plan: Plan }, promised: number): Promise<void> {
  const taken = await tx.$count(teamMembers, eq(teamMembers.teamId, team.id))
  if (taken + promised >= MEMBER_LIMITS[team.plan]) throw errors.quotaExceeded('team members')
}

/** Revokes a pending invitation. */
export async function revokeInvitation(tx: Db, teamId: string, id: string) {
  const [revoked] = await tx
    .update(teamInvitations)
    .set({ revokedAt: sql`now()` })
    .where(and(eq(teamInvitations.id, id), eq(teamInvitations.teamId, teamId), isOpen))
    .returning({ id: teamInvitations.id, role: teamInvitations.role })
  if (revoked === undefined) throw errors.notFound('invitation')
  return revoked
}

/** Revokes an open or expired invitation and creates another for the same address and role, with a new token. */
export async function inviteAgain(tx: Db, team: Team, by: string, id: string) {
  await revokeInvitation(tx, team.id, id)
  const [old] = await tx
    .select({ email: teamInvitations.email, role: teamInvitations.role })
    .from(teamInvitations)
    .where(eq(teamInvitations.id, id))
  return invite(tx, team, by, old!.email, old!.role as InvitedRole)
}

/** Revokes the pending invitations of a member who may no longer invite. */
export async function revokeInvitationsOf(tx: Db, teamId: string, userId: string): Promise<void> {
  await tx
    .update(teamInvitations)
    .set({ revokedAt: sql`now()` })
    .where(and(eq(teamInvitations.teamId, teamId), eq(teamInvitations.invitedBy, userId), isOpen))
}

/**
 * Makes the user a member, if the invitation was sent to their verified address. Of several concurrent attempts one
 * succeeds, and none exceeds the limit of the team's plan.
 */
export async function acceptInvitation(tx: Db, userId: string, token: string) {
  const { team, invitation } = await lockInvitation(tx, userId, token)
  await requireNoMember(tx, team.id, userId)
  await requirePlace(tx, team, 0)

  await tx.insert(teamMembers).values({ teamId: team.id, userId, role: invitation.role })
  await tx
    .update(teamInvitations)
    .set({ acceptedAt: sql`now()`, acceptedBy: userId })
    .where(eq(teamInvitations.id, invitation.id))
  return { invitationId: invitation.id, team: { ...team, role: invitation.role } }
}

/** Ends an invitation on behalf of the invited user, whose verified address it must be. */
export async function declineInvitation(tx: Db, userId: string, token: string) {
  const { team, invitation } = await lockInvitation(tx, userId, token)
  await tx.update(teamInvitations).set({ revokedAt: sql`now()` }).where(eq(teamInvitations.id, invitation.id))
  return { invitation, team }
}

/**
 * What an invited user decides about.
 *
 * @throws AppError as {@link acceptInvitation}, except for the limit of the plan
 */
export async function readInvitation(db: Db, userId: string, token: string) {
  const [found] = await db
    .select({ ...fields, teamId: teams.id, team: teams.name, inviter: users.username })
    .from(teamInvitations)
    .innerJoin(teams, eq(teams.id, teamInvitations.teamId))
    .leftJoin(users, eq(users.id, teamInvitations.invitedBy))
    .where(eq(teamInvitations.tokenHash, hashInvitation(token)))
  if (found === undefined) throw errors.notFound('invitation')
  await requireOpen(db, userId, found)
  await requireNoMember(db, found.teamId, userId)
  return found
}

async function lockInvitation(tx: Db, userId: string, token: string) {
  const tokenHash = hashInvitation(token)
  const team = await lockTeamOfInvitation(tx, tokenHash)
  const [invitation] = await tx
    .select(fields)
    .from(teamInvitations)
    .where(eq(teamInvitations.tokenHash, tokenHash))
    .for('update')
  if (team === undefined || invitation === undefined) throw errors.notFound('invitation')
  await requireOpen(tx, userId, invitation)
  return { team, invitation }
}

/** First whether it is for this user: a thief of the link learns nothing else about it. */
async function requireOpen(
  db: Db,
  userId: string,
  { email, state }: { email: string; state: keyof typeof OVER | 'pending' }
) {
  await requireAddress(db, userId, email)
  if (state !== 'pending') throw errors.conflict(`This invitation is ${OVER[state]}`)
}

const OVER = { accepted: 'used already', revoked: 'revoked', expired: 'expired' }

/** Locks the team first, as everywhere, which rules out deadlocks. */
async function lockTeamOfInvitation(tx: Db, tokenHash: Buffer) {
  const [team] = await tx
    .select({
      id: teams.id,
      name: teams.name,
      slug: teams.slug,
      plan: teams.plan,
      version: teams.version,
      createdAt: teams.createdAt
    })
    .from(teams)
    .innerJoin(teamInvitations, eq(teamInvitations.teamId, teams.id))
    .where(eq(teamInvitations.tokenHash, tokenHash))
    .for('no key update', { of: teams })
  return team
}

async function requireAddress(tx: Db, userId: string, email: string): Promise<void> {
  const isTheirs = await tx.$count(
    users,
    and(eq(users.id, userId), eq(sql`lower(${users.email})`, email), isNotNull(users.emailVerifiedAt))
  )
  if (isTheirs === 0) throw errors.forbidden('This invitation is not for your verified e-mail address')
}

async function requireNoMember(tx: Db, teamId: string, userId: string): Promise<void> {
  const isMember = await tx.$count(teamMembers, and(eq(teamMembers.teamId, teamId), eq(teamMembers.userId, userId)))
  if (isMember > 0) throw errors.conflict('You are already in this team')
}

/** One fast round is enough for 256 random bits. */
function hashInvitation(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}
