import { and, eq, type SQL, sql } from 'drizzle-orm'
import { apps, ROLES, type Role, teamMembers, teams } from '../../drizzle/schema.ts'
import { errors } from '../../plugins/lib/errors.ts'
import { type Db, statement } from './db.ts'
import { isUuid } from './slug.ts'

export type { Role }

/**
 * What a role in a team allows: the one permission table. Routes name a row of it as their `config.access`, and the role
 * is checked where they load the team or the app.
 */
export const PERMISSIONS = {
  viewTeam: 'member',
  viewApps: 'member',
  createApps: 'member',
  deploy: 'member',
  changeApps: 'admin',
  deleteApps: 'admin',
  manageEnvVars: 'admin',
  changeRegions: 'admin',
  inviteMembers: 'admin',
  removeMembers: 'admin',
  changeRoles: 'owner',
  manageBilling: 'owner',
  deleteTeam: 'owner',
  transferTeam: 'owner'
} as const satisfies Record<string, Role>

function allows(role: Role, needed: Role): boolean {
  return ROLES.indexOf(role) >= ROLES.indexOf(needed)
}

const SLUG_LIKE = /^[a-z0-9-]{1,63}$/

export const teamFields = {
  id: teams.id,
  name: teams.name,
  slug: teams.slug,
  plan: teams.plan,
  createdAt: teams.createdAt,
  role: teamMembers.role
}

export const appFields = {
  id: apps.id,
  teamId: apps.teamId,
  name: apps.name,
  slug: apps.slug,
  githubRepo: apps.githubRepo,
  githubBranch: apps.githubBranch,
  region: apps.region,
  autoDeploy: apps.autoDeploy,
  version: apps.version,
  createdAt: apps.createdAt,
  updatedAt: apps.updatedAt
}

const membership = (teamId: typeof teams.id | typeof apps.teamId) =>
  and(eq(teamMembers.teamId, teamId), eq(teamMembers.userId, sql.placeholder('user')))

const subject = sql.placeholder('subject')

const selectTeam = (db: Db, name: string, condition: SQL) =>
  db.select(teamFields).from(teams).innerJoin(teamMembers, membership(teams.id)).where(condition).prepare(name)
const teamById = statement(db => selectTeam(db, 'team_by_id', eq(teams.id, subject)))
const teamBySlug = statement(db => selectTeam(db, 'team_by_slug', eq(teams.slug, subject)))

const selectApp = (db: Db, name: string, condition: SQL) =>
  db
    .select({ ...appFields, role: teamMembers.role })
    .from(apps)
    .innerJoin(teamMembers, membership(apps.teamId))
    .where(condition)
    .prepare(name)
const appById = statement(db => selectApp(db, 'app_by_id', eq(apps.id, subject)))
const appBySlug = statement(db => selectApp(db, 'app_by_slug', eq(apps.slug, subject)))

/** Picks the look-up that fits what stands in a URL; what can be neither UUID nor slug is not looked up at all. */
function choose<LookUp>(idOrSlug: string, byId: LookUp, bySlug: LookUp): LookUp | undefined {
  if (isUuid(idOrSlug)) return byId
  if (SLUG_LIKE.test(idOrSlug)) return bySlug
}

/** A team, by UUID or slug, for one of its members; to others there is no such team. */
export async function findTeam(db: Db, userId: string, idOrSlug: string) {
  const lookUp = choose(idOrSlug, teamById, teamBySlug)
  const [team] = lookUp ? await lookUp(db).execute({ user: userId, subject: idOrSlug }) : []
  if (team === undefined) throw errors.notFound('team')
  return team
}

/** An app, by UUID or slug, for a member of its team, with the member's role; to others there is no such app. */
export async function findApp(db: Db, userId: string, idOrSlug: string) {
  const lookUp = choose(idOrSlug, appById, appBySlug)
  const [app] = lookUp ? await lookUp(db).execute({ user: userId, subject: idOrSlug }) : []
  if (app === undefined) throw errors.notFound('app')
  return app
}

/** Whoever is in the team may know what is missing. */
export function requireRole(held: Role, needed: Role): void {
  if (!allows(held, needed)) throw errors.forbidden(`This needs the role ${needed} in the team`)
}

export type Team = Awaited<ReturnType<typeof findTeam>>
export type App = Omit<Awaited<ReturnType<typeof findApp>>, 'role'>
