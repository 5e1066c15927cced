import { eq } from 'drizzle-orm'
import { apps } from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import { readGithubRepo, readGitUrl } from '../../../plugins/lib/git-url.ts'
import type { Db } from '../base/db.ts'
import { hasInstallation } from '../github/installations.ts'
import type { AppChanges } from './apps.ts'

/** As much of GitHub as it takes to tell whose a repository is. */
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
  /** Null: the app is yet to be made. */
  readonly appId: string | null
  /** Null: there is no GitHub App, and whatever is named has to be public. */
  readonly github: RepositoryFinder | null
  /** Whether the repositories of this machine will do. */
  readonly allowLocalGit: boolean
}

/**
 * Settings of an app whose source is where the team may deploy from, with what GitHub says of its repository. It asks
 * GitHub, so it is for before the transaction.
 *
 * @throws AppError that says what is wrong with the source
 */
export async function settledSource<Changes extends AppChanges>(
  db: Db,
  changes: Changes,
  { teamId, appId, github, allowLocalGit }: Setting
): Promise<Changes> {
  if (changes.githubRepo && changes.gitUrl) throw errors.validation('gitUrl', 'goes without a githubRepo')
  if (changes.gitUrl) return { ...changes, gitUrl: requireGitUrl(changes.gitUrl, allowLocalGit) }
  if (!changes.githubRepo) return changes
  const githubRepo = requireGithubRepo(changes.githubRepo)
  if (github === null) return { ...changes, githubRepo }
  return { ...changes, ...((await linkOf(db, appId, githubRepo)) ?? (await linkTo(db, github, teamId, githubRepo))) }
}

/** GitHub's word for a repository, if the app has that one already. */
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

/** The same for a repository of others and for none at all: which of them exist is nobody else's business. */
const notTheirs = (name: string) =>
  errors.validation('githubRepo', `${name} is no repository of an installation of the team`)
