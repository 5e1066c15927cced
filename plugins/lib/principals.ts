import type { FastifyRequest } from 'fastify'
import { LRUCache } from 'lru-cache'
import { hashOfKey } from './token.ts'

/** What a credential may do at most; each includes those before it. */
export type Scope = 'read' | 'deploy' | 'admin'

/** Who makes a request. */
export interface Principal {
  readonly userId: string
  readonly username: string
  /** Whether this is an operator of the whole platform; says nothing about roles in teams. */
  readonly isOperator: boolean
  /** How it was shown who this is: an API token, a signed access token that was minted from one, or a browser's session. */
  readonly via: 'token' | 'access-token' | 'session'
  /** The session's id, or the API token's; of an access token, that of the API token it was minted from. */
  readonly credentialId: string
  readonly scopes: readonly Scope[]
  /** The only team that the token reaches; absent: all of its user's. */
  readonly teamId?: string
  /** When the user has signed in; in a session only. */
  readonly signedInAt?: Date
  /** When the token or the session ends; absent: never. */
  readonly expiresAt?: Date
}

/** Where tokens, or sessions, are kept. */
export interface TokenVerifier {
  /**
   * @param hash SHA-256 of the token
   * @returns null for one that is unknown, expired or revoked
   * @throws when it cannot tell, because the store is away
   */
  verify(hash: Buffer): Promise<Principal | null>
}

/** A way to show who one is. */
export interface CredentialSource {
  /** Undefined: the request has nothing of this kind. Null: it has, and that is not valid. Rejects when it cannot tell. */
  identify(request: FastifyRequest): Principal | null | undefined | Promise<Principal | null>
  /** Drops what is remembered of a credential or of a user, by id; without one, everything. */
  forget(id?: string): void
}

export interface PrincipalCacheSettings {
  /** Milliseconds after which an answer is no longer used: the longest time for which a revoked token can go on. */
  readonly ttl: number
  /** The same for the answer that a token is not valid. */
  readonly refusalTtl: number
  readonly max: number
}

export interface PrincipalCache {
  /** The answer in memory: null for a token that is not valid, undefined when it has to be loaded. */
  peek(key: string): Principal | null | undefined
  load(key: string): Promise<Principal | null>
  /** Drops what is known of a token or of all tokens of a user, by id; without one, everything. */
  forget(id?: string): void
}

interface Entry {
  readonly principal: Principal
  readonly readAt: number
  refreshed: boolean
}

/**
 * Remembers who a token belongs to. Refusals are kept apart, so that a flood of invented tokens pushes no real one out.
 * The age of an answer counts from the moment its read began, because it may miss whatever was written after.
 */
export function createPrincipalCache(verifier: TokenVerifier, settings: PrincipalCacheSettings): PrincipalCache {
  const { ttl, refusalTtl, max } = settings
  const known = new LRUCache<string, Entry>({ max })
  const refused = new LRUCache<string, number>({ max })
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

  /** Reads ahead of the end of an entry, so that a token in steady use never waits. */
  function refresh(key: string, entry: Entry): void {
    entry.refreshed = true
    // When this fails the entry serves until its end, and the request that loads it then tells of the failure.
    load(key).catch(() => {})
  }

  /** Reads a token once for all who wait for it. */
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
    // A read that is under way may have begun before the change: its answer is not kept, and nobody else joins it.
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
