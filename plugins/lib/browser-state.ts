import { randomBytes } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { cookieName, readCookie, setCookie } from './cookies.ts'
import { createSigner, type Keyring } from './signer.ts'

export interface BrowserStateSettings {
  /** What it is about: what is signed for one purpose proves nothing for another. */
  readonly purpose: string
  readonly cookie: string
  /** Whether clients come by https. */
  readonly secure: boolean
  /** Seconds in which the browser has to be back. */
  readonly lifetime: number
  readonly keys: Keyring
}

/** What a browser was sent away with. */
export interface Errand {
  /** Random, and different each time: 256 bits in base64url. */
  readonly nonce: string
  readonly payload: string
  readonly until: Date
  /** All of it, as it stands in the cookie: names this errand among all others. */
  readonly memo: string
}

/** Why a browser that has come back is not taken for the one that was sent away. */
export type Stray =
  /** It has no cookie: another browser was sent, or it is back already. */
  | 'absent'
  /** Its cookie is of another errand than the `state`. */
  | 'foreign'
  | 'late'

export interface BrowserState {
  /** @returns the `state` to send along, and the errand's nonce */
  begin(reply: FastifyReply, payload: string): { state: string; nonce: string }
  read(request: FastifyRequest, state: string | undefined): Errand | Stray
  /** The errand is over. */
  clear(reply: FastifyReply): void
}

/**
 * Binds an errand to another service to the browser that runs it. All that has to be remembered is in a cookie of the
 * browser, whose signature is the `state`: neither is worth anything without the other.
 */
export function browserState(settings: BrowserStateSettings): BrowserState {
  const { secure, lifetime } = settings
  const signer = createSigner(settings.purpose, settings.keys)
  const cookie = cookieName(settings.cookie, secure)

  return {
    begin(reply, payload) {
      const nonce = randomBytes(32).toString('base64url')
      const end = Date.now() + lifetime * 1_000
      const memo = `${nonce}.${end}.${Buffer.from(payload).toString('base64url')}`
      reply.header('set-cookie', setCookie(cookie, memo, { secure, maxAge: lifetime }))
      return { state: signer.sign(memo), nonce }
    },

    read(request, state) {
      const memo = readCookie(request, cookie)
      if (memo === undefined) return 'absent'
      if (state === undefined || !signer.verify(memo, state)) return 'foreign'
      const [nonce = '', end = '', payload = ''] = memo.split('.')
      if (Number(end) <= Date.now()) return 'late'
      return { nonce, payload: Buffer.from(payload, 'base64url').toString(), until: new Date(Number(end)), memo }
    },

    clear(reply) {
      reply.header('set-cookie', setCookie(cookie, '', { secure, maxAge: 0 }))
    }
  }
}
