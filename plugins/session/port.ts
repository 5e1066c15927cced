import type { Db, SignInMethod } from '../lib/own-types.ts'
import type { Principal } from '../lib/principals.ts'

export interface SessionUser {
  readonly id: string
  readonly username: string
  readonly isOperator: boolean
}

export interface NewSession {
  /** SHA-256 of what the cookie holds. */
  secretHash: Buffer
  user: SessionUser
  method: SignInMethod
  ip: string | undefined
  userAgent: string | undefined
  idleUntil: Date
  expiresAt: Date
}

/** Where sessions are kept. */
export interface SessionStore {
  /** @returns the id of the session */
  create(tx: Db | null, session: NewSession): Promise<string>
  /** Whose session it is, while it lasts; to ask is to use it, so that it is idle from then on until `idleUntil`. */
  find(secretHash: Buffer, idleUntil: Date): Promise<Principal | null>
  /** @returns the id of the session that has ended, if there was one */
  end(tx: Db | null, secretHash: Buffer): Promise<string | undefined>
}
