import { Type } from '@sinclair/typebox'
import { LRUCache } from 'lru-cache'
import { type Remote, RemoteError } from '../../plugins/lib/remote.ts'
import { InstallationUnavailable } from './unavailable.ts'

const Token = Type.Object({ token: Type.String({ minLength: 1 }), expires_at: Type.String() })

const MOST_TOKENS = 1_000
/** Milliseconds before its end at which a token is used no more: what it was taken for may take that long. */
const MARGIN = 10 * 60_000

/** The tokens by which the App acts for an installation. They live in memory and nowhere else. */
export class InstallationTokens {
  readonly #asApp: Remote['call']
  readonly #tokens: LRUCache<string, string, { installationId: number; repositoryId: number | undefined }>

  constructor(asApp: Remote['call']) {
    this.#asApp = asApp
    this.#tokens = new LRUCache({
      max: MOST_TOKENS,
      ttl: MARGIN,
      // Whoever asks while a token is forgotten gets the one that is being made, which is not kept.
      ignoreFetchAbort: true,
      fetchMethod: async (_key, _stale, { options, context }) => {
        const { token, lifetime } = await this.#mint(context.installationId, context.repositoryId)
        options.ttl = Math.max(lifetime - MARGIN, lifetime / 2, 1)
        return token
      }
    })
  }

  /** A token; whoever asks while one is being made gets that one, too. */
  async get(installationId: number, repositoryId?: number): Promise<string> {
    const context = { installationId, repositoryId }
    return (await this.#tokens.fetch(keyOf(installationId, repositoryId), { context }))!
  }

  /** GitHub has not taken this one: it must not be used again. */
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
        // A token that nobody hears of does no harm.
        idempotent: true
      })
      const issued = Date.parse(headers.get('date') ?? '') || Date.now()
      return { token: body.token, lifetime: Date.parse(body.expires_at) - issued }
    } catch (error) {
      throw unavailable(error, installationId) ?? error
    }
  }
}

/** A number and a colon, so that no key is the beginning of another installation's. */
const keyOf = (installationId: number, repositoryId?: number) => `${installationId}:${repositoryId ?? ''}`

function unavailable(error: unknown, installationId: number): InstallationUnavailable | undefined {
  if (!(error instanceof RemoteError)) return undefined
  if (error.status === 404) return new InstallationUnavailable(installationId, 'removed')
  if (error.status === 403 && error.retryAfter === undefined)
    return new InstallationUnavailable(installationId, 'suspended')
}
