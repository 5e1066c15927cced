import { and, count, desc, eq, sql } from 'drizzle-orm'
import { apps, type Plan, teamMembers, teams, users } from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import { type Db, repeatableRead, statement, violatedConstraint } from '../base/db.ts'
import { afterBoundCursor, microseconds, type Page, type PageRequest, pageValues, toPage } from '../base/page.ts'
import { isReserved, slugCandidates } from '../base/slug.ts'
import { type Team, teamFields, teamNamed } from './access.ts'

export interface NewTeam {
  name: string
  slug?: string
}

/** Teams are free, so their number needs a limit. */
const MOST_OWNED = 50

const teamsOfUser = repeatableRead(db =>
  db
    .select({ ...teamFields, at: microseconds(teams.createdAt) })
    .from(teamMembers)
    .innerJoin(teams, eq(teams.id, teamMembers.teamId))
    .where(and(eq(teamMembers.userId, sql.placeholder('user')), afterBoundCursor(teams)))
    .orderBy(desc(teams.createdAt), desc(teams.id))
    .limit(sql.placeholder('limit'))
    .prepare('teams_of_user')
)

/** A user's teams, newest first. */
export async function listTeams(db: Db, userId: string, request: PageRequest): Promise<Page<Team>> {
  const rows = await teamsOfUser(db).execute({ user: userId, ...pageValues(request) })
  return toPage(rows, request.limit)
}

const homeOfUser = statement(db =>
  db
    .select({ id: teams.id })
    .from(teamMembers)
    .innerJoin(teams, eq(teams.id, teamMembers.teamId))
    .innerJoin(users, eq(users.id, teamMembers.userId))
    .where(eq(teamMembers.userId, sql.placeholder('user')))
    .orderBy(
      desc(sql`${teams.slug} = lower(${users.username})`),
      desc(sql`${teamMembers.role} = 'owner'`),
      teams.createdAt,
      teams.id
    )
    .limit(1)
    .for('share', { of: teamMembers })
    .prepare('home_of_user')
)

/**
 * The default team of a user: the personal one, else the oldest that they own, else the oldest. Locks their membership
 * until the transaction ends.
 */
export async function findHomeTeam(db: Db, userId: string): Promise<{ id: string }> {
  const [team] = await homeOfUser(db).execute({ user: userId })
  if (team === undefined) throw errors.validation('team', 'you are not in a team yet')
  return team
}

/** Whether all members of a team operate the platform, and may therefore do on its machine whatever it can. */
export async function isOperatorTeam(db: Db, teamId: string): Promise<boolean> {
  const [row] = await db
    .select({ every: sql<boolean | null>`bool_and(${users.isAdmin})` })
    .from(teamMembers)
    .innerJoin(users, eq(users.id, teamMembers.userId))
    .where(eq(teamMembers.teamId, teamId))
  return row?.every === true
}

/** Creates a team with one member, its owner. Without a slug, one is made from the name. */
export async function createTeam(tx: Db, ownerId: string, { name, slug }: NewTeam, plan: Plan): Promise<Team> {
  await refuseOneTooMany(tx, ownerId)
  if (slug !== undefined) refuseReserved(slug)
  for (const candidate of slug === undefined ? slugCandidates(name, 'team') : [slug]) {
    const [team] = await tx
      .insert(teams)
      .values({ name: name.trim(), slug: candidate, plan })
      .onConflictDoNothing({ target: teams.slug })
      .returning(ownFields)
    if (team === undefined) continue
    await tx.insert(teamMembers).values({ teamId: team.id, userId: ownerId, role: 'owner' })
    return { ...team, role: 'owner' }
  }
  throw slug === undefined ? errors.conflict('Could not derive a free slug from this name') : slugTaken(slug)
}

const { role: _, ...ownFields } = teamFields

/** Locks the user's row, so that concurrent requests cannot exceed the limit together. */
async function refuseOneTooMany(tx: Db, ownerId: string): Promise<void> {
  await tx.select({ id: users.id }).from(users).where(eq(users.id, ownerId)).for('no key update')
  const owned = await tx.$count(teamMembers, and(eq(teamMembers.userId, ownerId), eq(teamMembers.role, 'owner')))
  if (owned >= MOST_OWNED) throw errors.quotaExceeded('teams')
}

function refuseReserved(slug: string): void {
  if (isReserved(slug)) throw errors.validation('slug', `"${slug}" is reserved`)
}

const slugTaken = (slug: string, cause?: unknown) => errors.conflict(`The slug "${slug}" is taken`, cause)

/**
 * Renames a team and increments its version. The old slug is free at once.
 *
 * @param team from {@link lockTeam}
 */
export async function renameTeam(tx: Db, team: Team, changes: Partial<NewTeam>): Promise<Team> {
  const { name = team.name, slug = team.slug } = changes
  if (slug !== team.slug) refuseReserved(slug)
  try {
    const [changed] = await tx
      .update(teams)
      .set({ name: name.trim(), slug, version: sql`${teams.version} + 1` })
      .where(eq(teams.id, team.id))
      .returning(ownFields)
    return { ...changed!, role: team.role }
  } catch (error) {
    if (violatedConstraint(error) === 'teams_slug_unique') throw slugTaken(slug, error)
    throw error
  }
}

/**
 * Changes the plan of a team. Members beyond the new limit stay, but no member can be added until there is a free
 * place.
 *
 * @returns the team as it is now, and its previous plan
 * @throws AppError when there is no such team, or when its subscription determines its plan
 */
export async function setPlan(tx: Db, idOrSlug: string, plan: Plan) {
  const [found] = await tx
    .select({ id: teams.id, plan: teams.plan, subscription: teams.stripeSubscriptionId })
    .from(teams)
    .where(teamNamed(idOrSlug))
    .for('no key update')
  if (found === undefined) throw errors.notFound('team')
  const { id, plan: from, subscription } = found
  if (subscription !== null) throw errors.conflict('This team’s plan is set by its subscription')
  if (from !== plan)
    await tx
      .update(teams)
      .set({ plan, version: sql`${teams.version} + 1` })
      .where(eq(teams.id, id))
  return { team: await findListedTeam(tx, id), from }
}

/** A team as operators see it. */
async function findListedTeam(db: Db, id: string) {
  const [team] = await db
    .select({ ...ownFields, members: db.$count(teamMembers, eq(teamMembers.teamId, teams.id)) })
    .from(teams)
    .where(eq(teams.id, id))
  return team!
}

/**
 * Deletes a team with its memberships and invitations. Refuses while it has apps, which run elsewhere, or a
 * subscription, which costs money until it is cancelled. Recorded usage is kept, as invoices are.
 *
 * @param team from {@link lockTeam}
 */
export async function deleteTeam(tx: Db, team: { id: string }): Promise<void> {
  // Waits for all pending changes in the team, and blocks new ones.
  await tx.select({ id: teamMembers.userId }).from(teamMembers).where(eq(teamMembers.teamId, team.id)).for('update')
  const reasons = await deletionBlockers(tx, team.id)
  if (reasons.length > 0) throw errors.conflict(`The team still has ${reasons.join(' and ')}`)
  await tx.delete(teams).where(eq(teams.id, team.id))
}

/** The reasons why a team cannot be deleted; empty when it can. */
export async function deletionBlockers(tx: Db, teamId: string): Promise<string[]> {
  const [found] = await tx
    .select({ subscription: teams.stripeSubscriptionId, apps: count(apps.id) })
    .from(teams)
    .leftJoin(apps, eq(apps.teamId, teams.id))
    .where(eq(teams.id, teamId))
    .groupBy(teams.id)
  const { apps: appCount = 0, subscription = null } = found ?? {}
  return [
    ...(appCount > 0 ? [appCount === 1 ? 'an app' : `${appCount} apps`] : []),
    ...(subscription !== null ? ['a subscription'] : [])
  ]
}
