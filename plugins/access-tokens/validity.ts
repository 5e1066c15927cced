import { growingLru } from '../lib/growing-lru.ts'
import type { Principal } from '../lib/principals.ts'

/** Returns an API token's current principal, or null if the token is no longer valid. Rejects if the lookup fails. */
export type Check = (tokenId: string) => Promise<Principal | null>

export interface TokenValiditySettings {
  /** Without it, claims are never rechecked. */
  readonly check: Check | undefined
  /** Milliseconds an answer stays valid while the change feed is down, and the longest silence of a feed that is up. */
  readonly ttl: number
  /** Maximum token lifetime in milliseconds. Changes older than this cannot affect a token that is still valid. */
  readonly lifetime: number
  readonly max: number
}

export interface TokenValidity {
  /** The current principal; the token's own claim if nothing has changed since issue. Null if it is no longer valid. */
  of(claimed: Principal, issuedAt: number): Principal | null | Promise<Principal | null>
  /** Records a change to a token or user. */
  note(id: string): void
  /** The change feed is live from now on. */
  live(): void
  /**
   * The change feed had told all that happened before this time, as `performance.now()`. Once a feed says so, it is
   * trusted only while it does: a process that was stopped for a while does not know what it has missed.
   */
  alive(at: number): void
  /** The change feed may have missed changes, or may miss them from now on. */
  gap(): void
  /** Invalidates everything that is cached. */
  forget(): void
}

const NEVER = Number.POSITIVE_INFINITY
const ALWAYS = Number.POSITIVE_INFINITY
/** Tolerated clock skew between instances, in milliseconds. */
const SKEW = 60_000

/**
 * Decides whether a signed token is still valid, without a lookup where possible. The claim stands if the change feed
 * has been live since issue and reported no change to the API token or its user. Otherwise `check` runs, and its answer
 * is used until the next change, or for `ttl` while the feed is down.
 */
export function createTokenValidity({ check, ttl, lifetime, max }: TokenValiditySettings): TokenValidity {
  const changed = growingLru<string, true>(max, lifetime)
  const answers = growingLru<string, { principal: Principal | null; askedAt: number }>(max)
  const asking = new Map<string, Promise<Principal | null>>()
  /** By the clock that tokens are issued by, and by the one that never jumps. */
  let liveSince = NEVER
  let liveAt = NEVER
  let isPulsing = false
  let heardAt = ALWAYS

  function of(claimed: Principal, issuedAt: number): Principal | null | Promise<Principal | null> {
    if (check === undefined || isUntouched(claimed, issuedAt)) return claimed
    const answer = answers.get(claimed.credentialId)
    if (answer !== undefined && isFresh(answer.askedAt)) return narrowed(answer.principal, claimed)
    return ask(claimed.credentialId, check).then(principal => narrowed(principal, claimed))
  }

  function isUntouched({ credentialId, userId }: Principal, issuedAt: number): boolean {
    return issuedAt - SKEW > liveSince && isHeard() && !changed.has(credentialId) && !changed.has(userId)
  }

  function isFresh(askedAt: number): boolean {
    return (askedAt >= liveAt && isHeard()) || performance.now() - askedAt < ttl
  }

  function isHeard(): boolean {
    return performance.now() - heardAt < ttl
  }

  /** Runs one check per token at a time, shared by concurrent callers. */
  function ask(tokenId: string, check: Check): Promise<Principal | null> {
    const running = asking.get(tokenId)
    if (running !== undefined) return running
    const askedAt = performance.now()
    const answer: Promise<Principal | null> = check(tokenId)
      .then(principal => {
        // A change reported meanwhile may be missing from this answer, which is then not cached.
        if (asking.get(tokenId) === answer) answers.set(tokenId, { principal, askedAt })
        return principal
      })
      .finally(() => {
        if (asking.get(tokenId) === answer) asking.delete(tokenId)
      })
    asking.set(tokenId, answer)
    return answer
  }

  function note(id: string): void {
    // The cache would evict its oldest change, so treat the feed as starting over.
    if (changed.size === max && !changed.has(id)) forget()
    changed.set(id, true)
    asking.clear()
    for (const [tokenId, { principal }] of answers.entries())
      if (tokenId === id || principal?.userId === id) answers.delete(tokenId)
  }

  function live(): void {
    gap()
    liveSince = Date.now()
    liveAt = performance.now()
    heardAt = isPulsing ? liveAt : ALWAYS
  }

  function alive(at: number): void {
    isPulsing = true
    heardAt = at
  }

  function gap(): void {
    liveSince = NEVER
    liveAt = NEVER
    answers.clear()
    asking.clear()
  }

  function forget(): void {
    if (liveSince === NEVER) gap()
    else live()
  }

  return { of, note, live, alive, gap, forget }
}

/** Applies the API token's current state to the claim, without widening the scopes the access token was minted with. */
function narrowed(now: Principal | null, claimed: Principal): Principal | null {
  if (now === null || now.userId !== claimed.userId) return null
  return { ...claimed, username: now.username, isOperator: now.isOperator }
}
