import { eq } from 'drizzle-orm'
import { apps } from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import { readGithubRepo, readGitUrl } from '../../../plugins/lib/git-url.ts'
import type { Db } from '../base/db.ts'
import { hasInstallation } from '../github/installations.ts'
import type { AppChanges } from './apps.ts'

/** The part of the GitHub client that finds out which installation reaches a repository. */
export interface RepositoryFinder {
  installationOf(repository: string): Promise<number | null>
  repository(installationId: number, repository: string): Promise<{ id: number; fullName: string } | null>
}

function requireGitUrl(text: string, allowLocal: boolean): string {
  const read = readGitUrl(text, allowLocal)
  if ('complaint' in read) throw errors.validation('gitUrl', read.complaint)
  return read.url
}

function requireGithubRepo(text: string): string {
  const name = readGithubRepo(text)
  if (name === null) throw errors.validation('githubRepo', 'must be owner/name, for example acme/website')
  return name
}

interface Setting {
  readonly teamId: string
  /** Null: the app does not exist yet. */
  readonly appId: string | null
  /** Null: there is no GitHub App, so repositories must be public. */
  readonly github: RepositoryFinder | null
  /** Whether git repositories on this machine are allowed. */
  readonly allowLocalGit: boolean
}

/**
 * Completes settings whose source the team may deploy from with GitHub's data about the repository. Asks GitHub, so
 * call it before the transaction.
 *
 * @throws AppError that says what is wrong with the source
 */
export async function settledSource<Changes extends AppChanges>(
  db: Db,
  changes: Changes,
  { teamId, appId, github, allowLocalGit }: Setting
): Promise<Changes> {
  if (changes.githubRepo && changes.gitUrl) throw errors.validation('gitUrl', 'cannot be combined with githubRepo')
  if (changes.gitUrl) return { ...changes, gitUrl: requireGitUrl(changes.gitUrl, allowLocalGit) }
  if (!changes.githubRepo) return changes
  const githubRepo = requireGithubRepo(changes.githubRepo)
  if (github === null) return { ...changes, githubRepo }
  return { ...changes, ...((await linkOf(db, appId, githubRepo)) ?? (await linkTo(db, github, teamId, githubRepo))) }
}

/** The stored link to a repository, if the app already uses it. */
async function linkOf(db: Db, appId: string | null, name: string) {
  if (appId === null) return null
  const { githubRepo, githubRepoId, githubInstallationId } = apps
  const link = { githubRepo, githubRepoId, githubInstallationId }
  const [current] = await db.select(link).from(apps).where(eq(apps.id, appId))
  return current?.githubRepo === name && current.githubInstallationId !== null ? current : null
}

async function linkTo(db: Db, github: RepositoryFinder, teamId: string, name: string) {
  const githubInstallationId = await github.installationOf(name)
  if (githubInstallationId === null || !(await hasInstallation(db, teamId, githubInstallationId))) throw notTheirs(name)
  const repository = await github.repository(githubInstallationId, name)
  if (repository === null) throw notTheirs(name)
  return { githubRepo: repository.fullName, githubRepoId: repository.id, githubInstallationId }
}

/** The same error for a repository of others and for a missing one, so that it does not reveal which exist. */
const notTheirs = (name: string) =>
  errors.validation('githubRepo', `${name} is not a repository of an installation of the team`)
