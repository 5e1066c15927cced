import { and, eq, type SQL, sql } from 'drizzle-orm'
import { apps, ROLES, type Role, teamMembers, teams } from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import { type Db, repeatableRead, statement } from '../base/db.ts'
import { isUuid } from '../base/slug.ts'

export type { Role }

/**
 * The role that each permission requires. Routes name one as `config.access`; the role is checked where the team or the
 * app is loaded.
 */
export const PERMISSIONS = {
  viewTeam: 'member',
  leaveTeam: 'member',
  viewApps: 'member',
  createApps: 'member',
  deploy: 'member',
  deployAnyCommit: 'admin',
  changeApps: 'admin',
  deleteApps: 'admin',
  manageEnvVars: 'admin',
  changeRegions: 'admin',
  manageInstallations: 'admin',
  inviteMembers: 'admin',
  removeMembers: 'admin',
  viewAudit: 'admin',
  renameTeam: 'owner',
  changeRoles: 'owner',
  manageBilling: 'owner',
  deleteTeam: 'owner',
  transferTeam: 'owner'
} as const satisfies Record<string, Role>

export function allows(role: Role, needed: Role): boolean {
  return ROLES.indexOf(role) >= ROLES.indexOf(needed)
}

const SLUG_LIKE = /^[a-z0-9-]{1,63}$/

export const teamFields = {
  id: teams.id,
  name: teams.name,
  slug: teams.slug,
  plan: teams.plan,
  version: teams.version,
  createdAt: teams.createdAt,
  role: teamMembers.role
}

export const appFields = {
  id: apps.id,
  teamId: apps.teamId,
  name: apps.name,
  slug: apps.slug,
  githubRepo: apps.githubRepo,
  gitUrl: apps.gitUrl,
  rootDirectory: apps.rootDirectory,
  healthPath: apps.healthPath,
  healthGrace: apps.healthGrace,
  port: apps.port,
  githubBranch: apps.githubBranch,
  region: apps.region,
  autoDeploy: apps.autoDeploy,
  flyAppId: apps.flyAppId,
  version: apps.version,
  createdAt: apps.createdAt,
  updatedAt: apps.updatedAt
}

const membership = (teamId: typeof teams.id | typeof apps.teamId) =>
  and(eq(teamMembers.teamId, teamId), eq(teamMembers.userId, sql.placeholder('user')))

const subject = sql.placeholder('subject')

const selectTeam = (db: Db, condition: SQL) =>
  db.select(teamFields).from(teams).innerJoin(teamMembers, membership(teams.id)).where(condition)
const selectApp = (db: Db, condition: SQL) =>
  db
    .select({ ...appFields, role: teamMembers.role })
    .from(apps)
    .innerJoin(teamMembers, membership(apps.teamId))
    .where(condition)
const heldMembership = { of: teamMembers }

const teamLookUps = {
  read: {
    byId: repeatableRead(db => selectTeam(db, eq(teams.id, subject)).prepare('team_by_id')),
    bySlug: repeatableRead(db => selectTeam(db, eq(teams.slug, subject)).prepare('team_by_slug'))
  },
  change: {
    byId: statement(db =>
      selectTeam(db, eq(teams.id, subject)).for('share', heldMembership).prepare('team_by_id_held')
    ),
    bySlug: statement(db =>
      selectTeam(db, eq(teams.slug, subject)).for('share', heldMembership).prepare('team_by_slug_held')
    )
  }
}
const appLookUps = {
  read: {
    byId: repeatableRead(db => selectApp(db, eq(apps.id, subject)).prepare('app_by_id')),
    bySlug: repeatableRead(db => selectApp(db, eq(apps.slug, subject)).prepare('app_by_slug'))
  },
  change: {
    byId: statement(db => selectApp(db, eq(apps.id, subject)).for('share', heldMembership).prepare('app_by_id_held')),
    bySlug: statement(db =>
      selectApp(db, eq(apps.slug, subject)).for('share', heldMembership).prepare('app_by_slug_held')
    )
  }
}

/**
 * The purpose of a look-up. A look-up for a change locks the caller's membership until the transaction ends, so that
 * the role cannot be revoked while in use.
 */
export type Purpose = keyof typeof teamLookUps

/** Picks the look-up by UUID or by slug; undefined for text that can be neither. */
function choose<LookUp>(idOrSlug: string, { byId, bySlug }: { byId: LookUp; bySlug: LookUp }): LookUp | undefined {
  if (isUuid(idOrSlug)) return byId
  if (SLUG_LIKE.test(idOrSlug)) return bySlug
}

/** Finds a team, by UUID or slug, for one of its members. Others get NOT_FOUND. */
export async function findTeam(db: Db, userId: string, idOrSlug: string, purpose: Purpose = 'read') {
  const lookUp = choose(idOrSlug, teamLookUps[purpose])
  const [team] = lookUp ? await lookUp(db).execute({ user: userId, subject: idOrSlug }) : []
  if (team === undefined) throw errors.notFound('team')
  return team
}

/** Matches the team that a UUID or a slug names. @throws AppError when the text can be neither */
export function teamNamed(idOrSlug: string): SQL {
  const condition = choose(idOrSlug, { byId: eq(teams.id, idOrSlug), bySlug: eq(teams.slug, idOrSlug) })
  if (condition === undefined) throw errors.notFound('team')
  return condition
}

/**
 * The same for a change of the team or of its members. Such changes of one team are serialized. The team is locked
 * before any membership, here and everywhere, which rules out deadlocks.
 */
export async function lockTeam(tx: Db, userId: string, idOrSlug: string) {
  const isNamed = teamNamed(idOrSlug)
  await tx
    .select({ id: teams.id })
    .from(teams)
    .innerJoin(teamMembers, and(eq(teamMembers.teamId, teams.id), eq(teamMembers.userId, userId)))
    .where(isNamed)
    .for('no key update', { of: teams })
  return findTeam(tx, userId, idOrSlug, 'change')
}

/** Finds an app, by UUID or slug, for a member of its team, with the member's role. Others get NOT_FOUND. */
export async function findApp(db: Db, userId: string, idOrSlug: string, purpose: Purpose = 'read') {
  const lookUp = choose(idOrSlug, appLookUps[purpose])
  const [app] = lookUp ? await lookUp(db).execute({ user: userId, subject: idOrSlug }) : []
  if (app === undefined) throw errors.notFound('app')
  return app
}

/** Refuses an insufficient role. The error names the required one, which members may know. */
export function requireRole(held: Role, needed: Role): void {
  if (!allows(held, needed)) throw errors.forbidden(`This needs the role ${needed} in the team`)
}

export type Team = Awaited<ReturnType<typeof findTeam>>
export type App = Omit<Awaited<ReturnType<typeof findApp>>, 'role'>
