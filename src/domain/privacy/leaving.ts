import { createHash, randomBytes } from 'node:crypto'
import { and, asc, eq, exists, gt, inArray, isNull, lte, ne, notExists, or, sql } from 'drizzle-orm'
import {
  apiTokens,
  idempotencyKeys,
  sessions,
  teamInvitations,
  teamMembers,
  teams,
  users
} from '../../../drizzle/schema.ts'
import { AppError, errors } from '../../../plugins/lib/errors.ts'
import { lockOperators, requireAnotherOperator } from '../accounts/operators.ts'
import { announce } from '../accounts/tokens.ts'
import { pseudonymiseBatch } from '../audit/erase.ts'
import type { AuditLog } from '../audit/log.ts'
import { forgetCached } from '../base/caches.ts'
import type { Db } from '../base/db.ts'
import { deletionBlockers } from '../teams/teams.ts'

/** Days during which a deleted account can be restored. */
export const GRACE_DAYS = 14

const CODE_BYTES = 32
const DUE_BATCH = 50

/**
 * Disables an account at once, and schedules its erasure. Until then it can be restored with the returned code, which
 * is stored only as a hash. Its memberships stay until then, but have no effect.
 *
 * @throws CONFLICT that names the teams that would have no owner, or that have no other member and are still in use
 */
export async function requestErasure(tx: Db, userId: string) {
  await lockOperators(tx)
  const [user] = await tx
    .select({ isAdmin: users.isAdmin })
    .from(users)
    .where(eq(users.id, userId))
    .for('no key update')
  if (user === undefined) throw errors.notFound('user')
  if (user.isAdmin) await requireAnotherOperator(tx, userId)
  await refuseWhileNeeded(tx, userId)

  const code = randomBytes(CODE_BYTES).toString('base64url')
  const [leaving] = await tx
    .update(users)
    .set({
      isAdmin: false,
      restoreHash: hashCode(code),
      eraseAfter: sql`now() + ${GRACE_DAYS} * interval '1 day'`
    })
    .where(eq(users.id, userId))
    .returning({ eraseAfter: users.eraseAfter })
  await endAccess(tx, userId)
  await forgetCached(tx, 'profiles', userId)
  return { eraseAfter: leaving!.eraseAfter!, code }
}

async function refuseWhileNeeded(tx: Db, userId: string): Promise<void> {
  const reasons: string[] = []
  for (const team of await lockTeamsOf(tx, userId)) {
    const needs = await whyNeeded(tx, team.id, userId)
    if (needs.length > 0) reasons.push(`${team.slug} (${needs.join(', ')})`)
  }
  if (reasons.length === 0) return
  throw new AppError('CONFLICT', {
    message: 'You are the only owner of teams in use: transfer or delete them first',
    detail: reasons.join('; ')
  })
}

/** Always in the same order, which rules out deadlocks between users who leave the same teams. */
async function lockTeamsOf(tx: Db, userId: string) {
  const isOwner = tx
    .select({ one: sql`1` })
    .from(teamMembers)
    .where(and(eq(teamMembers.teamId, teams.id), eq(teamMembers.userId, userId), eq(teamMembers.role, 'owner')))
  return tx
    .select({ id: teams.id, slug: teams.slug })
    .from(teams)
    .where(exists(isOwner))
    .orderBy(asc(teams.id))
    .for('no key update')
}

async function whyNeeded(tx: Db, teamId: string, userId: string): Promise<string[]> {
  const others = await tx
    .select({ role: teamMembers.role, eraseAfter: users.eraseAfter })
    .from(teamMembers)
    .innerJoin(users, eq(users.id, teamMembers.userId))
    .where(and(eq(teamMembers.teamId, teamId), ne(teamMembers.userId, userId)))
  if (others.some(({ role, eraseAfter }) => role === 'owner' && eraseAfter === null)) return []
  const people = others.length === 0 ? [] : [others.length === 1 ? 'another member' : `${others.length} other members`]
  return [...people, ...(await deletionBlockers(tx, teamId))]
}

/** Ends the user's sessions and tokens, and the invitations they have sent. */
async function endAccess(tx: Db, userId: string): Promise<void> {
  await tx.delete(sessions).where(eq(sessions.userId, userId))
  await tx
    .update(apiTokens)
    .set({ revokedAt: sql`now()` })
    .where(and(eq(apiTokens.userId, userId), isNull(apiTokens.revokedAt)))
  await tx
    .update(teamInvitations)
    .set({ revokedAt: sql`now()` })
    .where(
      and(
        or(eq(teamInvitations.invitedBy, userId), inArray(teamInvitations.teamId, ownTeams(tx, userId))),
        isNull(teamInvitations.acceptedAt),
        isNull(teamInvitations.revokedAt)
      )
    )
  await announce(tx, userId)
}

/** The teams whose only member is the user. */
function ownTeams(tx: Db, userId: string) {
  const others = tx
    .select({ one: sql`1` })
    .from(sql`team_members other`)
    .where(sql`other.team_id = ${teamMembers.teamId} and other.user_id <> ${userId}`)
  return tx
    .select({ teamId: teamMembers.teamId })
    .from(teamMembers)
    .where(and(eq(teamMembers.userId, userId), notExists(others)))
}

/** Undoes the request, given its code. Tokens, invitations and operator rights that ended with it are not restored. */
export async function restoreAccount(tx: Db, code: string): Promise<{ id: string; username: string }> {
  const [restored] = await tx
    .update(users)
    .set({ eraseAfter: null, restoreHash: null })
    .where(and(eq(users.restoreHash, hashCode(code)), gt(users.eraseAfter, sql`now()`)))
    .returning({ id: users.id, username: users.username })
  if (restored === undefined) throw errors.notFound('deleted account')
  await announce(tx, restored.id)
  return restored
}

/** Erases the accounts whose grace period is over. An interrupted run is continued by the next one. */
export async function eraseDueAccounts(db: Db, log: AuditLog, signal: AbortSignal): Promise<number> {
  const due = await db.select({ id: users.id }).from(users).where(lte(users.eraseAfter, sql`now()`)).limit(DUE_BATCH)
  let erased = 0
  for (const { id } of due) {
    while (!signal.aborted && (await pseudonymiseBatch(db, log.keys, id)) > 0);
    if (signal.aborted) break
    await db.transaction(tx => eraseAccount(tx, log, id))
    erased += 1
  }
  return erased
}

/** Afterwards only the account's UUID is left, in the audit log. */
async function eraseAccount(tx: Db, log: AuditLog, userId: string): Promise<void> {
  const [user] = await tx
    .select({ email: users.email })
    .from(users)
    .where(and(eq(users.id, userId), lte(users.eraseAfter, sql`now()`)))
    .for('update')
  if (user === undefined) return
  await tx.delete(teams).where(inArray(teams.id, ownTeams(tx, userId)))
  if (user.email !== null) await tx.delete(teamInvitations).where(eq(teamInvitations.email, user.email.toLowerCase()))
  await tx.delete(idempotencyKeys).where(eq(idempotencyKeys.principal, userId))
  await tx.delete(users).where(eq(users.id, userId))
  await forgetCached(tx, 'profiles', userId)
  await log.write(tx, {
    eventType: 'auth',
    action: 'erase',
    resource: 'user',
    resourceId: userId,
    actor: 'account erasure'
  })
}

/** One fast round is enough for 256 random bits. */
function hashCode(code: string): Buffer {
  return createHash('sha256').update(code).digest()
}
