import { createHash, randomBytes } from 'node:crypto'
import { createSigner } from '../../plugins/lib/signer.ts'
import type { Config } from '../config/index.ts'

/** How long the link works, in milliseconds. */
const LIFETIME = 600_000
const FORM = /^(\d{13})\.([\w-]{22})\.(.{1,200})$/

export interface FirstSignIn {
  /** Creates a code that signs the first operator in, once, from this machine. */
  create(now?: number): string
  /** The hash that identifies a used code, and its expiry; null for an invalid or expired code. */
  read(code: string, now?: number): { readonly hash: Buffer; readonly expiresAt: Date } | null
}

/**
 * Signs in new users who have nothing set up yet: only in development, and only while there is no other way. Codes are
 * signed and not stored, so every worker of the server can check them.
 */
export function firstSignIn({ environment, github, localAccounts, keys }: Config): FirstSignIn | null {
  if (environment !== 'development' || github !== null || localAccounts || keys.session === null) return null
  const signer = createSigner('rhone first sign-in', keys.session)
  return {
    create(now = Date.now()) {
      const text = `${now + LIFETIME}.${randomBytes(16).toString('base64url')}`
      return `${text}.${signer.sign(text)}`
    },
    read(code, now = Date.now()) {
      const [, end, nonce, signature] = FORM.exec(code) ?? []
      if (end === undefined || !signer.verify(`${end}.${nonce}`, signature!) || Number(end) <= now) return null
      return { hash: createHash('sha256').update(code).digest(), expiresAt: new Date(Number(end)) }
    }
  }
}
