import { randomBytes } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { cookieName, readCookie, setCookie } from './cookies.ts'
import { createSigner, type Keyring } from './signer.ts'

export interface BrowserStateSettings {
  /** Separates signatures: one made for this purpose is not valid for another. */
  readonly purpose: string
  readonly cookie: string
  /** Whether clients connect over HTTPS. */
  readonly secure: boolean
  /** Seconds within which the browser has to return. */
  readonly lifetime: number
  readonly keys: Keyring
}

/** The state a browser carries on its round trip to another service. */
export interface RoundTrip {
  /** Random, and different each time: 256 bits in base64url. */
  readonly nonce: string
  readonly payload: string
  readonly until: Date
  /** The full cookie value; unique to this round trip. */
  readonly memo: string
}

/** Why a returning browser is not accepted. */
export type RoundTripFailure =
  /** No cookie: a different browser was sent, or this one has already returned. */
  | 'absent'
  /** The cookie belongs to a different round trip than the `state`. */
  | 'foreign'
  | 'late'

export interface BrowserState {
  /** @returns the `state` to send along, and the round trip's nonce */
  begin(reply: FastifyReply, payload: string): { state: string; nonce: string }
  read(request: FastifyRequest, state: string | undefined): RoundTrip | RoundTripFailure
  /** Ends the round trip by removing its cookie. */
  clear(reply: FastifyReply): void
}

/**
 * Binds a round trip to another service to the browser that makes it. All data is in a browser cookie, and the `state`
 * is that cookie's signature: neither is valid without the other.
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
