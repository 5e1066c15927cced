import { and, desc, eq, type SQL, sql } from 'drizzle-orm'
import { apps, teamMembers } from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import { type Db, repeatableRead, statementsByColumns, violatedConstraint } from '../base/db.ts'
import { isoInstant, microsecondsOf } from '../base/instant.ts'
import { afterBoundCursor, cutPage, type Page, type PageRequest, pageValues, positionKey } from '../base/page.ts'
import { isReserved, slugCandidates } from '../base/slug.ts'
import { cancelDeployments } from '../deployments/deployments.ts'
import { holdInstallation } from '../github/installations.ts'
import { type App, appFields } from '../teams/access.ts'
import { notifyOfApp } from './notices.ts'
import { requireRegion } from './regions.ts'

/** The settings of an app that can be changed. */
export interface AppChanges {
  name?: string
  githubRepo?: string | null
  /** The clone URL of a repository that is not on GitHub. */
  gitUrl?: string | null
  /** The app's directory within the repository; null for the root. */
  rootDirectory?: string | null
  /** What the health check asks for; null: the platform's default. */
  healthPath?: string | null
  /** Seconds for a release to become healthy; null: the platform's default. */
  healthGrace?: number | null
  /** The port that the app listens on; null: the one in `PORT`. */
  port?: number | null
  /** What GitHub reports about `githubRepo`: the installation that reaches it, and its id. */
  githubInstallationId?: number | null
  githubRepoId?: number | null
  githubBranch?: string
  region?: string
  autoDeploy?: boolean
}

export interface NewApp extends AppChanges {
  name: string
  slug?: string
}

const DEFAULT_REGION = 'iad'

const team = sql.placeholder('team')

const appsOfUser = repeatableRead(db =>
  db
    .select({ ...appFields, createdAt: sql<string>`${apps.createdAt}`, updatedAt: sql<string>`${apps.updatedAt}` })
    .from(teamMembers)
    .innerJoin(apps, eq(apps.teamId, teamMembers.teamId))
    .where(
      and(
        eq(teamMembers.userId, sql.placeholder('user')),
        sql`(${team}::uuid is null or ${apps.teamId} = ${team}::uuid)`,
        afterBoundCursor(apps)
      )
    )
    .orderBy(desc(apps.createdAt), desc(apps.id))
    .limit(sql.placeholder('limit'))
    .prepare('apps_of_user')
)

/** An app in a list, with timestamps as text. */
export type ListedApp = Omit<App, 'createdAt' | 'updatedAt'> & { createdAt: string; updatedAt: string }

/** The apps of a user's teams, or of one of them, newest first. */
export async function listApps(
  db: Db,
  userId: string,
  request: PageRequest & { teamId?: string }
): Promise<Page<ListedApp>> {
  const { teamId = null, ...page } = request
  const rows = await appsOfUser(db).execute({ user: userId, team: teamId, ...pageValues(page) })
  const found = cutPage(rows, page.limit, ({ createdAt, id }) => positionKey({ at: microsecondsOf(createdAt), id }))
  for (const app of found.items) {
    app.createdAt = isoInstant(app.createdAt)
    app.updatedAt = isoInstant(app.updatedAt)
  }
  return found
}

/**
 * Creates an app. Its slug is the requested one, or derived from the name. The unique index alone decides which of two
 * concurrent requests gets a slug.
 */
export async function createApp(db: Db, teamId: string, { slug, ...settings }: NewApp): Promise<App> {
  if (slug !== undefined && isReserved(slug)) throw errors.validation('slug', `"${slug}" is reserved`)
  await requireRegion(db, settings.region ?? DEFAULT_REGION)
  if (settings.githubInstallationId) await holdInstallation(db, teamId, settings.githubInstallationId)

  for (const candidate of slug === undefined ? slugCandidates(settings.name) : [slug]) {
    const app = await insertApp(db, { ...tidy(settings), name: settings.name.trim(), teamId, slug: candidate })
    if (app !== undefined) return app
  }
  throw errors.conflict(
    slug === undefined ? 'Could not derive a free slug from this name' : `The slug "${slug}" is taken`
  )
}

/** Returns undefined if the slug is taken, even by an uncommitted transaction: the insert waits for it. */
async function insertApp(db: Db, values: typeof apps.$inferInsert): Promise<App | undefined> {
  try {
    const [app] = await db.insert(apps).values(values).onConflictDoNothing({ target: apps.slug }).returning(appFields)
    return app
  } catch (error) {
    if (violatedConstraint(error) === 'apps_team_id_teams_id_fk') throw errors.notFound('team')
    throw error
  }
}

/**
 * Changes an app and increments its version.
 *
 * @param version the version the app must still have; absent: any
 */
export async function changeApp(db: Db, app: App, changes: AppChanges, version?: number): Promise<App> {
  if (changes.region !== undefined && changes.region !== app.region) await requireRegion(db, changes.region)
  if (changes.githubInstallationId) await holdInstallation(db, app.teamId, changes.githubInstallationId)
  const values = columnsOf(changes)
  const [changed] = await update(Object.keys(values))(db).execute({
    ...values,
    app: app.id,
    version: version ?? null
  })
  if (changed === undefined) refuse(version)
  const { notified: _, ...updated } = changed
  return updated
}

/** Whether changes depend on more than the app: on a region, or on an installation, which is locked. */
export function needsOthers({ region, githubInstallationId }: AppChanges): boolean {
  return region !== undefined || Boolean(githubInstallationId)
}

/** The columns that changes set, with their values. */
export function columnsOf(changes: AppChanges): Record<string, unknown> {
  return Object.fromEntries(Object.entries(tidy(changes)).filter(([, value]) => value !== undefined))
}

const update = statementsByColumns((db, values) => {
  const version = sql.placeholder('version')
  return db
    .update(apps)
    .set({ ...values, version: sql`${apps.version} + 1` })
    .where(and(eq(apps.id, sql.placeholder('app')), sql`(${version}::integer is null or ${apps.version} = ${version})`))
    .returning({ ...appFields, notified: notifyOfApp(apps.id) })
    .prepare('update_app')
})

/** Deletes an app and everything that belongs to it. */
export async function deleteApp(db: Db, app: App, version?: number): Promise<void> {
  // Workers learn that their deployment has ended, but not that it was deleted.
  await cancelDeployments(db, app.id)
  const deleted = await db.delete(apps).where(unchanged(app, version)).returning({ id: apps.id })
  if (deleted.length === 0) refuse(version)
}

function unchanged(app: App, version: number | undefined): SQL | undefined {
  return and(eq(apps.id, app.id), version === undefined ? undefined : eq(apps.version, version))
}

/** Another request changed the app after it was read. */
function refuse(version: number | undefined): never {
  throw version === undefined ? errors.notFound('app') : errors.preconditionFailed()
}

/** Changes as they are stored. An app has one source, so a new source replaces the other kind. */
function tidy<Changes extends AppChanges>(changes: Changes): Changes {
  const { name, githubRepo, gitUrl, githubInstallationId = null, githubRepoId = null } = changes
  return {
    ...changes,
    ...(name !== undefined && { name: name.trim() }),
    ...(githubRepo !== undefined && { githubInstallationId, githubRepoId }),
    ...(githubRepo && { gitUrl: null }),
    ...(gitUrl && { githubRepo: null, githubInstallationId: null, githubRepoId: null })
  }
}
