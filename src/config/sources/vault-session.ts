import { readFile } from 'node:fs/promises'
import { type Static, Type } from '@sinclair/typebox'
import { type Remote, RemoteError } from '../../../plugins/lib/remote.ts'
import { SourceError } from './port.ts'
import type { VaultLogin } from './spec.ts'

const Lease = Type.Object({
  auth: Type.Object({
    client_token: Type.String({ minLength: 1 }),
    lease_duration: Type.Integer({ minimum: 0 }),
    renewable: Type.Boolean()
  })
})
type Lease = Static<typeof Lease>['auth']

interface Held {
  readonly token: string
  /** The first lease's duration in seconds; 0 never expires. */
  readonly granted: number
  readonly renewable: boolean
  /** When to renew, and when it expires, as `performance.now()`: a wall clock may jump. */
  renewAt: number
  endsAt: number
}

/** Fraction of a lease after which it is renewed. */
const RENEWAL = 2 / 3
/** A renewal that grants less than this fraction of the first lease has reached the token's max_ttl. */
const NEARLY_OVER = 1 / 2

/**
 * A Vault token, renewed as long as possible. Renewals stop at the token's max_ttl; the session logs in again before
 * that.
 */
export class VaultSession {
  readonly #remote: Remote
  readonly #login: VaultLogin
  #held: Held | undefined
  #obtaining: Promise<Held> | undefined

  constructor(remote: Remote, login: VaultLogin) {
    this.#remote = remote
    this.#login = login
  }

  /** @throws RemoteError or SourceError when there is no valid token and none can be obtained */
  async token(): Promise<string> {
    const held = this.#held
    const now = performance.now()
    if (held !== undefined && now < held.renewAt) return held.token
    this.#obtaining ??= this.#obtain(held !== undefined && now < held.endsAt ? held : undefined).finally(() => {
      this.#obtaining = undefined
    })
    return (await this.#obtaining).token
  }

  /** Drops a token that Vault no longer accepts. */
  forget(token: string): void {
    if (this.#held?.token === token) this.#held = undefined
  }

  async end(): Promise<void> {
    const held = this.#held
    this.#held = undefined
    if (held === undefined) return
    const request = { operation: 'revoke_self', method: 'POST', path: '/auth/token/revoke-self' } as const
    // If this fails, the token expires with its lease.
    await this.#remote
      .call({ ...request, headers: { 'x-vault-token': held.token }, timeout: 1_000, deadline: 1_000 })
      .catch(() => {})
  }

  async #obtain(held: Held | undefined): Promise<Held> {
    try {
      this.#held = (held && (await this.#renew(held))) ?? (await this.#logIn())
    } catch (error) {
      // Renewals come early, so the token lasts until the next attempt.
      if (held === undefined) throw error
      return held
    }
    return this.#held
  }

  /** @returns undefined when another login is needed */
  async #renew(held: Held): Promise<Held | undefined> {
    if (!held.renewable) return undefined
    try {
      const { body } = await this.#remote.call({
        operation: 'renew_self',
        method: 'POST',
        path: '/auth/token/renew-self',
        headers: { 'x-vault-token': held.token },
        body: {},
        idempotent: true,
        schema: Lease
      })
      const isNearlyOver = body.auth.lease_duration < held.granted * NEARLY_OVER
      return isNearlyOver ? undefined : heldFrom(body.auth, held.granted)
    } catch (error) {
      if (error instanceof RemoteError && !error.isOutage && error.kind === 'status') return undefined
      throw error
    }
  }

  async #logIn(): Promise<Held> {
    const login = this.#login
    try {
      const { body } = await this.#remote.call({
        operation: 'login',
        method: 'POST',
        path: `/auth/${login.kind}/login`,
        body: await credentialsOf(login),
        schema: Lease
      })
      return heldFrom(body.auth, body.auth.lease_duration)
    } catch (error) {
      if (!(error instanceof RemoteError) || (error.status !== 400 && error.status !== 403)) throw error
      throw new SourceError(`rejected the ${login.kind} login (${error.status})`)
    }
  }
}

function heldFrom({ client_token: token, lease_duration: seconds, renewable }: Lease, granted: number): Held {
  const length = seconds === 0 ? Number.POSITIVE_INFINITY : seconds * 1_000
  const now = performance.now()
  return { token, granted, renewable, renewAt: now + length * RENEWAL, endsAt: now + length }
}

async function credentialsOf(login: VaultLogin): Promise<object> {
  if (login.kind === 'approle') return { role_id: login.roleId, secret_id: login.secretId }
  try {
    // Read on each login: Kubernetes replaces the file.
    return { role: login.role, jwt: (await readFile(login.tokenFile, 'utf8')).trim() }
  } catch (error) {
    throw new SourceError(`${login.tokenFile} cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
}
