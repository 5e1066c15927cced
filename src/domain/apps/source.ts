import { eq } from 'drizzle-orm'
import { apps } from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import type { Db } from '../base/db.ts'
import { hasInstallation } from '../github/installations.ts'
import type { AppChanges } from './apps.ts'

/** As much of GitHub as it takes to tell whose a repository is. */
export interface RepositoryFinder {
  installationOf(repository: string): Promise<number | null>
  repository(installationId: number, repository: string): Promise<{ id: number; fullName: string } | null>
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
  const { githubRepo, gitUrl } = changes
  if (githubRepo && gitUrl) throw errors.validation('gitUrl', 'goes without a githubRepo')
  if (gitUrl) requireGitUrl(gitUrl, allowLocalGit)
  if (!githubRepo || github === null) return changes
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

const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/

/**
 * Nothing goes into a URL that is given to git but where the repository is: no credentials, which would be in logs and
 * lists of processes, no query, and no protocol but HTTPS.
 *
 * @param allowLocal also takes `file:` and `http:` to this machine
 */
function requireGitUrl(text: string, allowLocal: boolean): void {
  const url = URL.parse(text)
  const refuse = (why: string) => errors.validation('gitUrl', why)
  if (url === null) throw refuse('must be a URL')
  const { protocol, hostname } = url
  const isLocal = (protocol === 'http:' && LOOPBACK.test(hostname)) || (protocol === 'file:' && hostname === '')
  if (protocol !== 'https:' && !(allowLocal && isLocal)) throw refuse('must begin with https://')
  if (url.username !== '' || url.password !== '') throw refuse('must hold no user and no password')
  if (url.search !== '' || url.hash !== '' || /[?#]/.test(text)) throw refuse('must have no query and no fragment')
  if (url.pathname === '/') throw refuse('must have the path of a repository')
}
