import { type Static, Type } from '@sinclair/typebox'
import { LRUCache } from 'lru-cache'
import { type Api, isDotSegment, repositoryPath } from './api.ts'
import type { Commit, CommitStatus, Repositories, Repository } from './port.ts'

const RepositoryAnswer = Type.Object({
  id: Type.Integer({ minimum: 1 }),
  full_name: Type.String({ minLength: 3 }),
  private: Type.Boolean(),
  default_branch: Type.String({ minLength: 1 })
})
const ListAnswer = Type.Object({
  total_count: Type.Integer({ minimum: 0 }),
  repositories: Type.Array(RepositoryAnswer)
})
const CommitAnswer = Type.Object({
  sha: Type.String({ pattern: '^[0-9a-f]{40}$' }),
  commit: Type.Object({
    message: Type.String(),
    author: Type.Union([Type.Object({ name: Type.Optional(Type.String()) }), Type.Null()])
  })
})
const InstallationAnswer = Type.Object({ id: Type.Integer({ minimum: 1 }) })

const PER_PAGE = 100
/** Beyond these, repositories are entered by name rather than picked from a list. */
const MOST_PAGES = 10
/** Milliseconds for which a list stays fresh. */
const FRESH = 60_000
/** Number of cached lists. */
const MOST_LISTS = 200
const CONTEXT = 'rhone/deploy'
const LONGEST_DESCRIPTION = 140

interface ListPage {
  readonly etag: string | null
  readonly total: number
  readonly repositories: readonly Repository[]
}

interface List extends Repositories {
  readonly pages: readonly ListPage[]
}

/** Repository operations of the App for its installations. */
export function repositoriesOf(api: Api) {
  const lists = new LRUCache<number, List>({
    max: MOST_LISTS,
    ttl: FRESH,
    // Stale lists are kept for their ETags: an unchanged list does not count towards GitHub's rate limit.
    noDeleteOnStaleGet: true,
    noDeleteOnFetchRejection: true,
    // If the list is forgotten while it is being fetched, callers still get it, but it is not cached.
    ignoreFetchAbort: true,
    fetchMethod: (installationId, old) => readList(installationId, old)
  })

  async function readList(installationId: number, old: List | undefined): Promise<List> {
    const first = await readPage(installationId, 1, old?.pages[0])
    const count = Math.ceil(first.total / PER_PAGE)
    const others = Array.from({ length: Math.min(count, MOST_PAGES) - 1 }, (_, i) =>
      readPage(installationId, i + 2, old?.pages[i + 1])
    )
    const pages = [first, ...(await Promise.all(others))]
    return { pages, repositories: pages.flatMap(page => page.repositories), isComplete: count <= MOST_PAGES }
  }

  async function readPage(installationId: number, page: number, old: ListPage | undefined): Promise<ListPage> {
    const answer = await api.for(installationId)({
      operation: 'list_repositories',
      path: `/installation/repositories?per_page=${PER_PAGE}&page=${page}`,
      headers: old?.etag ? { 'if-none-match': old.etag } : {},
      schema: ListAnswer,
      accept: [304]
    })
    if (!answer.ok) return old!
    const { total_count: total, repositories } = answer.body
    return { etag: answer.headers.get('etag'), total, repositories: repositories.map(toRepository) }
  }

  async function installationOf(repository: string): Promise<number | null> {
    const path = repositoryPath(repository)
    if (path === null) return null
    const answer = await api.asApp({
      operation: 'get_repository_installation',
      path: `${path}/installation`,
      schema: InstallationAnswer,
      // A renamed repository is found only by its new name.
      accept: [301, 404]
    })
    return answer.ok ? answer.body.id : null
  }

  return {
    async repositories(installationId: number): Promise<Repositories> {
      return (await lists.fetch(installationId))!
    },

    installationOf,

    async repository(installationId: number, repository: string): Promise<Repository | null> {
      // The token alone does not prove it: an installation can read every public repository.
      if ((await installationOf(repository)) !== installationId) return null
      const answer = await api.for(installationId)({
        operation: 'get_repository',
        path: repositoryPath(repository)!,
        schema: RepositoryAnswer,
        accept: [301, 404]
      })
      return answer.ok ? toRepository(answer.body) : null
    },

    async commit(
      installationId: number,
      repository: string,
      ref: string,
      signal?: AbortSignal
    ): Promise<Commit | null> {
      const path = repositoryPath(repository)
      const parts = ref.split('/')
      if (path === null || parts.some(isDotSegment)) return null
      const answer = await api.for(installationId)({
        operation: 'get_commit',
        path: `${path}/commits/${parts.map(encodeURIComponent).join('/')}`,
        schema: CommitAnswer,
        // 409: the repository is empty; 422: not a commit.
        accept: [301, 404, 409, 422],
        signal
      })
      if (!answer.ok) return null
      const { sha, commit } = answer.body
      return { sha, message: commit.message, author: commit.author?.name ?? '' }
    },

    async setStatus(
      installationId: number,
      repository: string,
      sha: string,
      { state, description, targetUrl }: CommitStatus,
      signal?: AbortSignal
    ): Promise<boolean> {
      const path = repositoryPath(repository)
      if (path === null) return false
      const answer = await api.for(installationId)({
        operation: 'create_commit_status',
        method: 'POST',
        path: `${path}/statuses/${encodeURIComponent(sha)}`,
        body: { state, target_url: targetUrl, description: cut(description), context: CONTEXT },
        accept: [301, 404, 422],
        // Setting the same status twice has no further effect.
        idempotent: true,
        signal
      })
      return answer.ok
    },

    forget(installationId: number): void {
      lists.delete(installationId)
    }
  }
}

function toRepository(answer: Static<typeof RepositoryAnswer>): Repository {
  const { id, full_name: fullName, private: isPrivate, default_branch: defaultBranch } = answer
  return { id, fullName, isPrivate, defaultBranch }
}

/** Cuts by code points, so that none is split. */
function cut(text: string): string {
  const points = [...text]
  return points.length <= LONGEST_DESCRIPTION ? text : `${points.slice(0, LONGEST_DESCRIPTION - 1).join('')}…`
}
