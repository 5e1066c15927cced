import { generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

export interface FakeUser {
  id: number
  login: string
  avatar_url: string
  emails: { email: string; primary: boolean; verified: boolean; visibility: string | null }[]
  /** Their role in each of their organizations, by its login. */
  organizations?: Record<string, 'admin' | 'member'>
}

export interface FakeCommit {
  sha: string
  message: string
  author: string
}

export interface FakeRepository {
  id: number
  full_name: string
  private: boolean
  default_branch: string
  /** By SHA and by branch. A git repository of that name takes precedence. */
  commits: Record<string, FakeCommit>
}

export interface FakeInstallation {
  id: number
  account: { login: string; id: number; type: 'User' | 'Organization' }
  repositories: FakeRepository[]
  suspended_at: string | null
  /** Ids of users with read access to some repositories, but without ownership. */
  collaborators: number[]
}

export interface FakeStatus {
  repository: string
  sha: string
  state: string
  description: string
  target_url: string
  context: string
}

export interface FakeDelivery {
  /** Longer than JavaScript's safe integers, like GitHub's. */
  id: string
  guid: string
  event: string
  payload: string
  delivered_at: string
  redelivery: boolean
  status_code: number
}

/** A fault of the next requests with this path prefix. */
export interface Fault {
  path: string
  method?: string
  /** The number of requests; absent: all. */
  times?: number
  /** Answers with this status; 0 hangs up, absent never answers. */
  status?: number
  /** Milliseconds after which the request is answered normally. */
  delay?: number
  message?: string
  headers?: Record<string, string>
}

export interface Grant {
  user: FakeUser
  redirectUri: string | null
  challenge: string | null
  scope: string
}

/** The state of this GitHub. */
export interface World {
  url: string
  readonly clientId: string
  /** The first of the secrets below. */
  readonly clientSecret: string
  /** Every valid secret: an app may have two at once. */
  clientSecrets: string[]
  /** The user signed in at GitHub, in any browser. */
  user: FakeUser
  /** Their answer to an authorization request. */
  decision: 'authorize' | 'deny'
  /** Breaks the routes with this path prefix, with this status; 0 hangs up. */
  outage: { path: string; status: number } | null
  faults: Fault[]
  /** All received requests. */
  readonly requests: { method: string; path: string; headers: IncomingMessage['headers'] }[]
  readonly redirectUris: string[]
  readonly app: {
    readonly id: number
    readonly slug: string
    /** The first key, as PEM. */
    readonly privateKey: string
    /** Of every valid key: an App may have any number. */
    publicKeys: KeyObject[]
    /** The URL to which users return after an installation. */
    setupUrl: string
    /** Whether it requests user authorization during installation. */
    requestsAuthorization: boolean
    /** The installation that an install creates; null: the user can only request one. */
    installing: FakeInstallation | null
    /** Lifetime of installation tokens in milliseconds. */
    tokenLifetime: number
  }
  readonly installations: FakeInstallation[]
  readonly statuses: FakeStatus[]
  /** The latest first. */
  readonly deliveries: FakeDelivery[]
  /** The URL and the secret of the App's webhook. */
  hook: { url: string; secret: string } | null
  /** Of each token, and of the App. */
  rateLimit: { remaining: number; reset: number }
  /** Directory of `owner/name.git`: bare repositories served to git. */
  gitRoot: string | null
  readonly codes: Map<string, Grant>
  readonly userTokens: Map<string, Grant>
  readonly installationTokens: Map<string, { installationId: number; ends: number; repositoryIds: number[] | null }>
}

export function fakeUser(id: number, login: string): FakeUser {
  const emails = [
    { email: `${login}@old.example`, primary: false, verified: true, visibility: null },
    { email: `${login}@example.com`, primary: true, verified: true, visibility: 'private' }
  ]
  return { id, login, avatar_url: `https://avatars.githubusercontent.com/u/${id}?v=4`, emails }
}

/** A key of an App; the private one as PEM, as GitHub gives it out. */
export function appKey() {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  return { privateKey: privateKey.export({ type: 'pkcs1', format: 'pem' }).toString(), publicKey }
}

export function createWorld(): World {
  const first = appKey()
  const clientSecret = randomBytes(20).toString('hex')
  return {
    url: '',
    clientId: 'Iv1.0123456789abcdef',
    clientSecret,
    clientSecrets: [clientSecret],
    user: fakeUser(583_231, 'octocat'),
    decision: 'authorize',
    outage: null,
    faults: [],
    requests: [],
    redirectUris: [],
    app: {
      id: 314_159,
      slug: 'rhone-test',
      privateKey: first.privateKey,
      publicKeys: [first.publicKey],
      setupUrl: '',
      requestsAuthorization: true,
      installing: null,
      tokenLifetime: 3_600_000
    },
    installations: [],
    statuses: [],
    deliveries: [],
    hook: null,
    rateLimit: { remaining: 5_000, reset: Math.floor(Date.now() / 1_000) + 3_600 },
    gitRoot: null,
    codes: new Map(),
    userTokens: new Map(),
    installationTokens: new Map()
  }
}

export function fakeRepository(id: number, fullName: string, more: Partial<FakeRepository> = {}): FakeRepository {
  return { id, full_name: fullName, private: true, default_branch: 'main', commits: {}, ...more }
}

/** Installs the App on an account. */
export function addInstallation(
  world: Pick<World, 'installations'>,
  id: number,
  account: FakeInstallation['account'],
  repositories: FakeRepository[] = []
): FakeInstallation {
  const installation = { id, account, repositories, suspended_at: null, collaborators: [] }
  world.installations.push(installation)
  return installation
}
