import { and, eq, isNull, ne, sql } from 'drizzle-orm'
import { type Plan, teamMembers, teams, users } from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import type { AuditLog, NewAuditRow } from '../audit/log.ts'
import { forgetCached } from '../base/caches.ts'
import type { Db } from '../base/db.ts'
import { isUuid } from '../base/slug.ts'
import { announce, createToken } from './tokens.ts'

/** The user who grants or revokes, or a program without one. */
export interface Actor {
  id?: string
  name: string
}

/** Serializes changes of operators, so that two operators cannot revoke each other at once. */
const OPERATORS_LOCK = sql`select pg_advisory_xact_lock(hashtext('rhone.operators'))`

export async function lockOperators(tx: Db): Promise<void> {
  await tx.execute(OPERATORS_LOCK)
}

/** Makes a user an operator. Does nothing, and records no event, if the user is one already. */
export function grantOperator(db: Db, log: AuditLog, who: string, by: Actor) {
  return db.transaction(tx => setAndRecord(tx, log, who, true, by))
}

/** Revokes a user's operator rights. Refuses for the last operator, because nobody could undo that. */
export function revokeOperator(db: Db, log: AuditLog, who: string, by: Actor) {
  return db.transaction(tx => setAndRecord(tx, log, who, false, by))
}

async function setAndRecord(tx: Db, log: AuditLog, who: string, isAdmin: boolean, by: Actor) {
  const { user, changed } = await setOperator(tx, who, isAdmin)
  if (changed) await log.write(tx, operatorEvent(isAdmin ? 'grant' : 'revoke', user, by))
  return user
}

/**
 * The same without the event, for callers that record it themselves.
 *
 * @returns the user before the change, and whether anything changed
 */
export async function setOperator(tx: Db, who: string, isAdmin: boolean) {
  await lockOperators(tx)
  const user = await findUser(tx, who)
  const changed = user.isAdmin !== isAdmin
  if (changed) {
    if (!isAdmin) await requireAnotherOperator(tx, user.id)
    await tx.update(users).set({ isAdmin }).where(eq(users.id, user.id))
    await announce(tx, user.id)
    await forgetCached(tx, 'profiles', user.id)
  }
  return { user, changed }
}

/** Users who have deleted their account no longer count as operators. */
export async function requireAnotherOperator(tx: Db, userId: string): Promise<void> {
  const [other] = await tx
    .select({ id: users.id })
    .from(users)
    .where(and(eq(users.isAdmin, true), ne(users.id, userId)))
    .limit(1)
  if (other === undefined) throw errors.conflict('The last operator cannot be revoked')
}

/**
 * @param who a user's id or name. Several users may have the same name: it comes from GitHub, where names change
 * owners.
 */
async function findUser(tx: Db, who: string) {
  const matches = await tx
    .select({ id: users.id, username: users.username, isAdmin: users.isAdmin })
    .from(users)
    .where(isUuid(who) ? eq(users.id, who) : eq(users.username, who))
    .limit(2)
  if (matches.length > 1) throw errors.conflict(`Several users have the name ${who}; use the id`)
  if (matches[0] === undefined) throw errors.notFound('user')
  return matches[0]
}

function operatorEvent(action: string, user: { id: string; username: string }, by: Actor): NewAuditRow {
  return {
    eventType: 'admin',
    action,
    userId: by.id ?? null,
    actor: by.name,
    resource: 'operator',
    resourceId: user.id,
    resourceName: user.username
  }
}

export async function hasUsers(db: Db): Promise<boolean> {
  const [user] = await db.select({ id: users.id }).from(users).limit(1)
  return user !== undefined
}

const FIRST_OPERATOR = 'operator'

/**
 * Creates the first account of a new server: an operator with a team and a token that has every scope.
 *
 * @returns the token, of which only a hash is stored
 */
export async function createFirstOperator(tx: Db, log: AuditLog, plan: Plan): Promise<string> {
  const [user] = await tx.insert(users).values({ username: FIRST_OPERATOR, isAdmin: true }).returning({ id: users.id })
  const userId = user!.id
  const [team] = await tx
    .insert(teams)
    .values({ name: `${FIRST_OPERATOR}'s Team`, slug: FIRST_OPERATOR, plan })
    .returning({ id: teams.id })
  const teamId = team!.id
  await tx.insert(teamMembers).values({ teamId, userId, role: 'owner' })

  const { token, prefix } = await createToken(tx, { userId, name: 'first boot', scopes: ['read', 'deploy', 'admin'] })
  const event = operatorEvent('create', { id: userId, username: FIRST_OPERATOR }, { name: 'first boot' })
  await log.write(tx, { ...event, teamId, details: { prefix, team: FIRST_OPERATOR } })
  return token
}

/** The earliest created account that is still an operator. @throws AppError when there is none */
export async function findFirstOperator(tx: Db) {
  const [user] = await tx
    .select({ id: users.id, username: users.username, isOperator: users.isAdmin })
    .from(users)
    .where(and(eq(users.isAdmin, true), isNull(users.eraseAfter)))
    .orderBy(users.createdAt, users.id)
    .limit(1)
  if (user === undefined) throw errors.notFound('operator')
  return user
}
