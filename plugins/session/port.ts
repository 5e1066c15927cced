import type { Db, SignInMethod } from '../lib/own-types.ts'
import type { Principal } from '../lib/principals.ts'

export interface SessionUser {
  readonly id: string
  readonly username: string
  readonly isOperator: boolean
}

export interface NewSession {
  /** SHA-256 of the cookie's value. */
  secretHash: Buffer
  user: SessionUser
  method: SignInMethod
  ip: string | undefined
  userAgent: string | undefined
  idleUntil: Date
  expiresAt: Date
}

/** Where sessions are stored. */
export interface SessionStore {
  /** @returns the id of the session */
  create(tx: Db | null, session: NewSession): Promise<string>
  /**
   * The session's user, while the session lasts; a lookup counts as use and extends the idle timeout to `idleUntil`.
   */
  find(secretHash: Buffer, idleUntil: Date): Promise<Principal | null>
  /** @returns the id of the ended session, if there was one */
  end(tx: Db | null, secretHash: Buffer): Promise<string | undefined>
}
