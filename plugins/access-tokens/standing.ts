import { LRUCache } from 'lru-cache'
import type { Principal } from '../lib/principals.ts'

/** Who an API token stands for now, by its id; null when it no longer counts. Rejects when it cannot tell. */
export type Check = (tokenId: string) => Promise<Principal | null>

export interface StandingSettings {
  /** Without it, nothing is ever asked. */
  readonly check: Check | undefined
  /** Milliseconds for which an answer is used while there is no news. */
  readonly ttl: number
  /** Milliseconds that a token lasts at most: what has changed before does not concern it. */
  readonly lifetime: number
  readonly max: number
}

export interface Standing {
  /** What is to be known of the token: the claim itself where nothing has changed since. */
  of(claimed: Principal, issuedAt: number): Principal | null | Promise<Principal | null>
  /** Something about a token or a user has changed. */
  note(id: string): void
  /** From now on, changes are told. */
  live(): void
  /** Changes may be missed from now on, or have been. */
  gap(): void
  /** Nothing that is remembered counts any longer. */
  forget(): void
}

const NEVER = Number.POSITIVE_INFINITY
/** By how much the clocks of two instances may differ, in milliseconds. */
const SKEW = 60_000

/**
 * Tells of a signed token whether it is still as good as when it was signed, without asking anybody: it is, as long as we
 * have heard of all changes since, and none was about its API token or its user. Otherwise somebody has to be asked, and
 * the answer serves until the next change.
 */
export function createStanding({ check, ttl, lifetime, max }: StandingSettings): Standing {
  const changed = new LRUCache<string, true>({ max, ttl: lifetime })
  const answers = new LRUCache<string, { principal: Principal | null; askedAt: number }>({ max })
  const asking = new Map<string, Promise<Principal | null>>()
  let liveSince = NEVER

  function of(claimed: Principal, issuedAt: number): Principal | null | Promise<Principal | null> {
    if (check === undefined || isUntouched(claimed, issuedAt)) return claimed
    const answer = answers.get(claimed.credentialId)
    if (answer !== undefined && isFresh(answer.askedAt)) return narrowed(answer.principal, claimed)
    return ask(claimed.credentialId, check).then(principal => narrowed(principal, claimed))
  }

  function isUntouched({ credentialId, userId }: Principal, issuedAt: number): boolean {
    return issuedAt - SKEW > liveSince && !changed.has(credentialId) && !changed.has(userId)
  }

  function isFresh(askedAt: number): boolean {
    return askedAt >= liveSince || Date.now() - askedAt < ttl
  }

  /** Asks once for all who want to know. */
  function ask(tokenId: string, check: Check): Promise<Principal | null> {
    const running = asking.get(tokenId)
    if (running !== undefined) return running
    const askedAt = Date.now()
    const answer: Promise<Principal | null> = check(tokenId)
      .then(principal => {
        // A change that was told meanwhile may not be in this answer.
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
    // The memory would lose the oldest change. Then it is better to know of none.
    if (changed.size === max && !changed.has(id)) forget()
    changed.set(id, true)
    asking.clear()
    for (const [tokenId, { principal }] of answers.entries())
      if (tokenId === id || principal?.userId === id) answers.delete(tokenId)
  }

  function live(): void {
    gap()
    liveSince = Date.now()
  }

  function gap(): void {
    liveSince = NEVER
    answers.clear()
    asking.clear()
  }

  function forget(): void {
    if (liveSince === NEVER) gap()
    else live()
  }

  return { of, note, live, gap, forget }
}

/** What the API token may do now, but no more than what was claimed when the access token was minted from it. */
function narrowed(now: Principal | null, claimed: Principal): Principal | null {
  if (now === null || now.userId !== claimed.userId) return null
  return { ...claimed, username: now.username, isOperator: now.isOperator }
}
