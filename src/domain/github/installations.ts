import { and, desc, eq, isNull, sql } from 'drizzle-orm'
import { githubInstallations } from '../../../drizzle/schema.ts'
import { AppError, errors } from '../../../plugins/lib/errors.ts'
import { type Db, repeatableRead } from '../base/db.ts'
import {
  afterBoundCursor,
  cutPage,
  DEFAULT_LIMIT,
  microseconds,
  type Page,
  type PageRequest,
  pageValues,
  parseNameCursor,
  toPage
} from '../base/page.ts'
import { isUuid } from '../base/slug.ts'

/** An installation of the GitHub App, as GitHub describes it. */
export interface GithubInstallation {
  readonly id: number
  readonly accountType: 'User' | 'Organization'
  readonly accountLogin: string
  readonly accountId: number
  readonly suspendedAt: Date | null
}

const installationFields = {
  id: githubInstallations.id,
  installationId: githubInstallations.installationId,
  accountType: githubInstallations.accountType,
  accountLogin: githubInstallations.accountLogin,
  suspendedAt: githubInstallations.suspendedAt,
  createdAt: githubInstallations.createdAt
}

/**
 * Connects an installation to a team, or refreshes one that it already has. If two teams compete, the unique index
 * alone decides: the first gets it, and no other team can take it over.
 */
export async function connectInstallation(db: Db, teamId: string, installation: GithubInstallation) {
  const { id: installationId, ...account } = installation
  const [row] = await db
    .insert(githubInstallations)
    .values({ teamId, installationId, ...account })
    .onConflictDoUpdate({
      target: githubInstallations.installationId,
      set: account,
      setWhere: eq(githubInstallations.teamId, teamId)
    })
    .returning(installationFields)
  if (row === undefined) throw errors.conflict('This installation is connected to another team')
  return row
}

const installationsOfTeam = repeatableRead(db =>
  db
    .select({ ...installationFields, at: microseconds(githubInstallations.createdAt) })
    .from(githubInstallations)
    .where(and(eq(githubInstallations.teamId, sql.placeholder('team')), afterBoundCursor(githubInstallations)))
    .orderBy(desc(githubInstallations.createdAt), desc(githubInstallations.id))
    .limit(sql.placeholder('limit'))
    .prepare('installations_of_team')
)

/** The installations of a team, newest first. */
export async function listInstallations(db: Db, teamId: string, request: PageRequest) {
  const rows = await installationsOfTeam(db).execute({ team: teamId, ...pageValues(request) })
  return toPage(rows, request.limit)
}

/** Disconnects an installation from a team. Its apps stay, but no longer receive pushes. */
export async function disconnectInstallation(db: Db, teamId: string, id: string) {
  const [row] = isUuid(id)
    ? await db
        .delete(githubInstallations)
        .where(and(eq(githubInstallations.id, id), eq(githubInstallations.teamId, teamId)))
        .returning(installationFields)
    : []
  if (row === undefined) throw errors.notFound('installation')
  return row
}

export async function hasInstallation(db: Db, teamId: string, installationId: number): Promise<boolean> {
  const rows = await db
    .select({ id: githubInstallations.id })
    .from(githubInstallations)
    .where(isOf(teamId, installationId))
  return rows.length > 0
}

/** The same check in a transaction; the installation stays with the team until the transaction ends. */
export async function holdInstallation(tx: Db, teamId: string, installationId: number): Promise<void> {
  const rows = await tx
    .select({ id: githubInstallations.id })
    .from(githubInstallations)
    .where(isOf(teamId, installationId))
    .for('share')
  if (rows.length === 0) throw errors.conflict('The installation is no longer connected to the team')
}

const isOf = (teamId: string, installationId: number) =>
  and(eq(githubInstallations.teamId, teamId), eq(githubInstallations.installationId, installationId))

interface Repository {
  readonly id: number
  readonly fullName: string
  readonly isPrivate: boolean
  readonly defaultBranch: string
}

/** Lists the repositories of an installation. */
export interface RepositoryLister {
  repositories(installationId: number): Promise<{ readonly repositories: readonly Repository[] }>
}

export interface RepositoryQuery extends PageRequest {
  /** Substring of their names, ignoring case. */
  q?: string
}

/** The repositories of a team's installations, by name. Suspended or removed installations have none. */
export async function searchRepositories(
  db: Db,
  github: RepositoryLister,
  teamId: string,
  { q = '', limit = DEFAULT_LIMIT, cursor }: RepositoryQuery
): Promise<Page<Repository & { installationId: number }>> {
  const after = parseNameCursor(cursor)
  const installations = await db
    .select({ installationId: githubInstallations.installationId })
    .from(githubInstallations)
    .where(and(eq(githubInstallations.teamId, teamId), isNull(githubInstallations.suspendedAt)))
  const lists = await Promise.all(installations.map(({ installationId }) => repositoriesOf(github, installationId)))
  const wanted = q.toLowerCase()
  const found = lists
    .flat()
    .filter(({ fullName }) => fullName.toLowerCase().includes(wanted) && (after === undefined || fullName > after))
    .sort((a, b) => (a.fullName < b.fullName ? -1 : 1))
  return cutPage(found.slice(0, limit + 1), limit, ({ fullName }) => fullName)
}

async function repositoriesOf(github: RepositoryLister, installationId: number) {
  try {
    const { repositories } = await github.repositories(installationId)
    return repositories.map(repository => ({ ...repository, installationId }))
  } catch (error) {
    if (error instanceof AppError && error.code === 'CONFLICT') return []
    throw error
  }
}
