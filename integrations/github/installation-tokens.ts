import { Type } from '@sinclair/typebox'
import { LRUCache } from 'lru-cache'
import { type Remote, RemoteError } from '../../plugins/lib/remote.ts'
import { InstallationUnavailable } from './unavailable.ts'

const Token = Type.Object({ token: Type.String({ minLength: 1 }), expires_at: Type.String() })

const MOST_TOKENS = 1_000
/** Milliseconds before expiry at which a token is no longer used: the work it was obtained for may take that long. */
const MARGIN = 10 * 60_000

/** Access tokens of installations, kept only in memory. */
export class InstallationTokens {
  readonly #asApp: Remote['call']
  readonly #tokens: LRUCache<string, string, { installationId: number; repositoryId: number | undefined }>

  constructor(asApp: Remote['call']) {
    this.#asApp = asApp
    this.#tokens = new LRUCache({
      max: MOST_TOKENS,
      ttl: MARGIN,
      // If a token is forgotten while it is being fetched, callers still get it, but it is not cached.
      ignoreFetchAbort: true,
      fetchMethod: async (_key, _stale, { options, context }) => {
        const { token, lifetime } = await this.#mint(context.installationId, context.repositoryId)
        options.ttl = Math.max(lifetime - MARGIN, lifetime / 2, 1)
        return token
      }
    })
  }

  /** Returns a token; concurrent callers share one fetch. */
  async get(installationId: number, repositoryId?: number): Promise<string> {
    const context = { installationId, repositoryId }
    return (await this.#tokens.fetch(keyOf(installationId, repositoryId), { context }))!
  }

  /** Drops a token that GitHub has rejected. */
  refuse(installationId: number, token: string): void {
    const key = keyOf(installationId)
    if (this.#tokens.peek(key) === token) this.#tokens.delete(key)
  }

  forget(installationId: number): void {
    for (const key of this.#tokens.keys()) if (key.startsWith(keyOf(installationId))) this.#tokens.delete(key)
  }

  async #mint(installationId: number, repositoryId: number | undefined): Promise<{ token: string; lifetime: number }> {
    const isNarrow = repositoryId !== undefined
    try {
      const { headers, body } = await this.#asApp({
        operation: 'create_installation_token',
        method: 'POST',
        path: `/app/installations/${installationId}/access_tokens`,
        body: isNarrow ? { repository_ids: [repositoryId], permissions: { contents: 'read' } } : {},
        schema: Token,
        // An unused token does no harm.
        idempotent: true
      })
      const issued = Date.parse(headers.get('date') ?? '') || Date.now()
      return { token: body.token, lifetime: Date.parse(body.expires_at) - issued }
    } catch (error) {
      throw unavailable(error, installationId) ?? error
    }
  }
}

/** A number and a colon, so that no key is a prefix of another installation's. */
const keyOf = (installationId: number, repositoryId?: number) => `${installationId}:${repositoryId ?? ''}`

function unavailable(error: unknown, installationId: number): InstallationUnavailable | undefined {
  if (!(error instanceof RemoteError)) return undefined
  if (error.status === 404) return new InstallationUnavailable(installationId, 'removed')
  if (error.status === 403 && error.retryAfter === undefined)
    return new InstallationUnavailable(installationId, 'suspended')
}
