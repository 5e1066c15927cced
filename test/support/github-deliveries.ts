import { createHash, createHmac, randomUUID } from 'node:crypto'
import type {
  Committer,
  Installation,
  InstallationDeletedEvent,
  InstallationRepositoriesRemovedEvent,
  InstallationSuspendEvent,
  InstallationUnsuspendEvent,
  PingEvent,
  PushEvent,
  Repository,
  RepositoryRenamedEvent,
  User
} from '@octokit/webhooks-types'

/** A delivery as GitHub sends it. */
export interface SignedDelivery {
  readonly headers: Readonly<Record<string, string>>
  readonly payload: Buffer
}

export const NO_COMMIT = '0'.repeat(40)

/** A plausible commit SHA. */
export const sha = (seed: string): string => createHash('sha1').update(seed).digest('hex')

/** The value of X-Hub-Signature-256. */
export function signatureOf(payload: Buffer, secret: string): string {
  return `sha256=${createHmac('sha256', secret).update(payload).digest('hex')}`
}

/** Signs a payload: an object as serialized by GitHub, or raw bytes. */
export function signed(
  event: string,
  payload: object | Buffer,
  { secret, deliveryId = randomUUID() }: { secret: string; deliveryId?: string }
): SignedDelivery {
  const bytes = Buffer.isBuffer(payload) ? payload : Buffer.from(JSON.stringify(payload))
  return {
    payload: bytes,
    headers: {
      accept: '*/*',
      'content-type': 'application/json',
      'user-agent': 'GitHub-Hookshot/7c1ae2f',
      'x-github-delivery': deliveryId,
      'x-github-event': event,
      'x-github-hook-id': '481516',
      'x-github-hook-installation-target-id': '2342',
      'x-github-hook-installation-target-type': 'integration',
      'x-hub-signature-256': signatureOf(bytes, secret)
    }
  }
}

export interface PushOf {
  installationId: number
  repoId: number
  repo?: string
  branch?: string
  ref?: string
  before?: string
  after?: string
  message?: string
  author?: string
  /** Seconds since 1970. */
  pushedAt?: number
  deleted?: boolean
}

/** A push of one commit. */
export function push({
  installationId,
  repoId,
  repo = 'acme/site',
  branch = 'main',
  ref = `refs/heads/${branch}`,
  before = sha('before'),
  after = sha('after'),
  message = 'Say hello',
  author = 'Ada Example',
  pushedAt = 1_795_000_000,
  deleted = false
}: PushOf): PushEvent {
  const committer: Committer = { name: author, email: 'ada@example.com', username: 'ada' }
  const commit = {
    id: after,
    tree_id: sha(`tree of ${after}`),
    distinct: true,
    message,
    timestamp: '2026-11-18T12:26:40+01:00',
    url: `https://github.com/${repo}/commit/${after}`,
    author: committer,
    committer,
    added: [],
    modified: ['index.js'],
    removed: []
  }
  return {
    ref,
    before,
    after: deleted ? NO_COMMIT : after,
    repository: repository(repoId, repo, pushedAt),
    pusher: { name: 'ada', email: 'ada@example.com' },
    sender: user('ada', 11),
    installation: { id: installationId, node_id: 'MDIzOkludGVncmF0aW9uSW5zdGFsbGF0aW9u' },
    created: before === NO_COMMIT,
    deleted,
    forced: false,
    base_ref: null,
    compare: `https://github.com/${repo}/compare/${before.slice(0, 12)}...${after.slice(0, 12)}`,
    commits: deleted ? [] : [commit],
    head_commit: deleted ? null : commit
  }
}

export function installationDeleted(installationId: number): InstallationDeletedEvent {
  return {
    action: 'deleted',
    installation: { ...installation(installationId), suspended_by: null, suspended_at: null },
    repositories: [],
    sender: user('ada', 11)
  }
}

export function installationSuspended(installationId: number, at: Date): InstallationSuspendEvent {
  const instant = at.toISOString()
  return {
    action: 'suspend',
    installation: {
      ...installation(installationId),
      updated_at: instant,
      suspended_by: user('ada', 11),
      suspended_at: instant
    },
    repositories: [],
    sender: user('ada', 11)
  }
}

export function installationUnsuspended(installationId: number, at: Date): InstallationUnsuspendEvent {
  return {
    action: 'unsuspend',
    installation: {
      ...installation(installationId),
      updated_at: at.toISOString(),
      suspended_by: null,
      suspended_at: null
    },
    repositories: [],
    sender: user('ada', 11)
  }
}

export function repositoriesRemoved(installationId: number, repoIds: number[]): InstallationRepositoriesRemovedEvent {
  return {
    action: 'removed',
    installation: installation(installationId),
    repository_selection: 'selected',
    repositories_added: [],
    repositories_removed: repoIds.map(id => ({
      id,
      node_id: `R_${id}`,
      name: `repo-${id}`,
      full_name: `acme/repo-${id}`,
      private: true
    })),
    requester: null,
    sender: user('ada', 11)
  }
}

export function repositoryRenamed(installationId: number, repoId: number, name: string): RepositoryRenamedEvent {
  return {
    action: 'renamed',
    changes: { repository: { name: { from: 'old' } } },
    repository: repository(repoId, name),
    sender: user('ada', 11),
    installation: { id: installationId, node_id: 'MDIzOkludGVncmF0aW9uSW5zdGFsbGF0aW9u' }
  }
}

export function ping(): PingEvent {
  return {
    zen: 'Keep it logically awesome.',
    hook_id: 481516,
    hook: {
      type: 'App',
      id: 481516,
      name: 'web',
      active: true,
      app_id: 2342,
      events: ['push'],
      config: { content_type: 'json', url: 'https://rhone.example/webhooks/github', insecure_ssl: '0' },
      updated_at: '2026-11-18T12:26:40Z',
      created_at: '2026-11-18T12:26:40Z',
      url: 'https://api.github.com/app/hook',
      ping_url: 'https://api.github.com/app/hook/pings',
      deliveries_url: 'https://api.github.com/app/hook/deliveries'
    }
  } as PingEvent
}

function installation(id: number): Installation {
  return {
    id,
    account: user('acme', 7),
    repository_selection: 'selected',
    access_tokens_url: `https://api.github.com/app/installations/${id}/access_tokens`,
    repositories_url: 'https://api.github.com/installation/repositories',
    html_url: `https://github.com/organizations/acme/settings/installations/${id}`,
    app_id: 2342,
    app_slug: 'rhone-cloud',
    target_id: 7,
    target_type: 'Organization',
    permissions: { contents: 'read', metadata: 'read', statuses: 'write' },
    events: ['push', 'repository'],
    created_at: '2026-11-01T09:00:00Z',
    updated_at: '2026-11-18T12:26:40Z',
    single_file_name: null,
    suspended_by: null,
    suspended_at: null
  }
}

function user(login: string, id: number): User {
  const url = `https://api.github.com/users/${login}`
  return {
    login,
    id,
    node_id: `U_${id}`,
    avatar_url: `https://avatars.githubusercontent.com/u/${id}?v=4`,
    gravatar_id: '',
    url,
    html_url: `https://github.com/${login}`,
    followers_url: `${url}/followers`,
    following_url: `${url}/following{/other_user}`,
    gists_url: `${url}/gists{/gist_id}`,
    starred_url: `${url}/starred{/owner}{/repo}`,
    subscriptions_url: `${url}/subscriptions`,
    organizations_url: `${url}/orgs`,
    repos_url: `${url}/repos`,
    events_url: `${url}/events{/privacy}`,
    received_events_url: `${url}/received_events`,
    type: 'User',
    site_admin: false
  }
}

/** The fields that matter; GitHub's payloads have a hundred more, most of them URLs. */
function repository(id: number, fullName: string, pushedAt = 1_795_000_000): Repository {
  const [owner = '', name = ''] = fullName.split('/')
  return {
    id,
    node_id: `R_${id}`,
    name,
    full_name: fullName,
    private: true,
    owner: user(owner, 7),
    html_url: `https://github.com/${fullName}`,
    description: null,
    fork: false,
    url: `https://api.github.com/repos/${fullName}`,
    created_at: 1_790_000_000,
    updated_at: '2026-11-18T12:26:40Z',
    pushed_at: pushedAt,
    clone_url: `https://github.com/${fullName}.git`,
    default_branch: 'main',
    visibility: 'private'
  } as unknown as Repository
}
