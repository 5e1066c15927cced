import { and, desc, eq, sql } from 'drizzle-orm'
import { teamMembers, teams, users } from '../../drizzle/schema.ts'
import { errors } from '../../plugins/lib/errors.ts'
import { type Team, teamFields } from './access.ts'
import { type Db, statement } from './db.ts'
import { afterBoundCursor, microseconds, type Page, type PageRequest, pageValues, toPage } from './page.ts'

const teamsOfUser = statement(db =>
  db
    .select({ ...teamFields, at: microseconds(teams.createdAt) })
    .from(teamMembers)
    .innerJoin(teams, eq(teams.id, teamMembers.teamId))
    .where(and(eq(teamMembers.userId, sql.placeholder('user')), afterBoundCursor(teams)))
    .orderBy(desc(teams.createdAt), desc(teams.id))
    .limit(sql.placeholder('limit'))
    .prepare('teams_of_user')
)

/** The teams that a user is in, newest first. */
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
    .prepare('home_of_user')
)

/** The team that is meant when a user names none: the personal one, else the oldest they own, else the oldest. */
export async function findHomeTeam(db: Db, userId: string): Promise<{ id: string }> {
  const [team] = await homeOfUser(db).execute({ user: userId })
  if (team === undefined) throw errors.validation('team', 'you are in no team yet')
  return team
}
