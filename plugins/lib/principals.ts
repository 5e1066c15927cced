import type { FastifyRequest } from 'fastify'
import { growingLru } from './growing-lru.ts'
import { hashOfKey } from './token.ts'

/** The most a credential may do; each scope includes those before it. */
export type Scope = 'read' | 'deploy' | 'admin'

/** An authenticated caller. */
export interface Principal {
  readonly userId: string
  readonly username: string
  /** Whether the user is an operator of the whole platform; unrelated to team roles. */
  readonly isOperator: boolean
  /** The kind of credential: an API token, a signed access token minted from one, or a browser session. */
  readonly via: 'token' | 'access-token' | 'session'
  /** The id of the session or API token; for an access token, the id of the API token it was minted from. */
  readonly credentialId: string
  readonly scopes: readonly Scope[]
  /** The only team the token may access; absent: all of the user's teams. */
  readonly teamId?: string
  /** When the user signed in; sessions only. */
  readonly signedInAt?: Date
  /** When the token or session expires; absent: never. */
  readonly expiresAt?: Date
}

/** Looks up stored tokens or sessions. */
export interface TokenVerifier {
  /**
   * @param hash SHA-256 of the token
   * @returns null if the token is unknown, expired or revoked
   * @throws if the store is unavailable
   */
  verify(hash: Buffer): Promise<Principal | null>
}

/** A way to authenticate requests. */
export interface CredentialSource {
  /** Undefined without a credential of this kind, null if it is invalid. Rejects if it cannot be checked. */
  identify(request: FastifyRequest): Principal | null | undefined | Promise<Principal | null>
  /** Drops the cached data of a credential or user, by id; without an id, everything. */
  forget(id?: string): void
}

export interface PrincipalCacheSettings {
  /** Milliseconds an answer is cached: the longest a revoked token can remain usable. */
  readonly ttl: number
  /** Milliseconds a refusal is cached. */
  readonly refusalTtl: number
  readonly max: number
}

export interface PrincipalCache {
  /** The cached answer: null for an invalid token, undefined if it has to be loaded. */
  peek(key: string): Principal | null | undefined
  load(key: string): Promise<Principal | null>
  /** Drops a token or all tokens of a user, by id; without an id, everything. */
  forget(id?: string): void
}

interface Entry {
  readonly principal: Principal
  readonly readAt: number
  refreshed: boolean
}

/**
 * Caches the principals of tokens. Refusals are cached separately, so a flood of made-up tokens evicts no real one.
 * An answer's age counts from the start of its read, because it may miss anything written after that.
 */
export function createPrincipalCache(verifier: TokenVerifier, settings: PrincipalCacheSettings): PrincipalCache {
  const { ttl, refusalTtl, max } = settings
  const known = growingLru<string, Entry>(max)
  const refused = growingLru<string, number>(max)
  const loads = new Map<string, Promise<Principal | null>>()

  function peek(key: string): Principal | null | undefined {
    const now = performance.now()
    const entry = known.get(key)
    if (entry === undefined) return wasRefused(key, now) ? null : undefined

    const age = now - entry.readAt
    if (age >= ttl) return undefined
    if (entry.principal.expiresAt !== undefined && entry.principal.expiresAt.getTime() <= Date.now()) return null
    if (age > ttl / 2 && !entry.refreshed) refresh(key, entry)
    return entry.principal
  }

  function wasRefused(key: string, now: number): boolean {
    const readAt = refused.get(key)
    return readAt !== undefined && now - readAt < refusalTtl
  }

  /** Reloads an entry before it expires, so that a token in steady use never waits. */
  function refresh(key: string, entry: Entry): void {
    entry.refreshed = true
    // On failure the entry stays valid until it expires; the request that then loads it reports the failure.
    load(key).catch(() => {})
  }

  /** Loads a token once for all concurrent callers. */
  function load(key: string): Promise<Principal | null> {
    const running = loads.get(key)
    if (running !== undefined) return running

    const loading: Promise<Principal | null> = read(key, () => loads.get(key) === loading).finally(() => {
      if (loads.get(key) === loading) loads.delete(key)
    })
    loads.set(key, loading)
    return loading
  }

  async function read(key: string, isCurrent: () => boolean): Promise<Principal | null> {
    const readAt = performance.now()
    const principal = await verifier.verify(hashOfKey(key))
    if (isCurrent()) keep(key, principal, readAt)
    return principal
  }

  function keep(key: string, principal: Principal | null, readAt: number): void {
    if (principal !== null) {
      known.set(key, { principal, readAt, refreshed: false })
      return
    }
    known.delete(key)
    refused.set(key, readAt)
  }

  function forget(id?: string): void {
    // A read in progress may have begun before the change: its answer is not cached, and no other caller joins it.
    loads.clear()
    if (id === undefined) {
      known.clear()
      refused.clear()
      return
    }
    for (const [key, { principal }] of known.entries())
      if (principal.credentialId === id || principal.userId === id) known.delete(key)
  }

  return { peek, load, forget }
}
