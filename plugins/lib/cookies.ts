import { parseCookie } from 'cookie'
import type { FastifyRequest } from 'fastify'

export interface CookieSettings {
  /** Whether clients come by https. */
  readonly secure: boolean
  /** Seconds; 0 removes the cookie. */
  readonly maxAge: number
}

/**
 * The name that a cookie has on the wire. Browsers take `__Host-` only from the very host, by https and for all paths: a
 * sibling, such as an app under the same domain, can then neither set the cookie nor overlay it.
 */
export function cookieName(name: string, secure: boolean): string {
  return secure ? `__Host-${name}` : name
}

/** A cookie that no script sees, and that other sites' pages send only by leading somebody here. */
export function setCookie(name: string, value: string, { secure, maxAge }: CookieSettings): string {
  return `${name}=${value}; Path=/; Max-Age=${maxAge}; HttpOnly; SameSite=Lax${secure ? '; Secure' : ''}`
}

/**
 * The value of a cookie. Undefined when it comes twice with different values: somebody else has set one of them, and which
 * is whose cannot be told.
 */
export function readCookie({ headers: { cookie } }: FastifyRequest, name: string): string | undefined {
  if (cookie === undefined) return undefined
  const first = parseCookie(cookie)[name]
  if (cookie.indexOf(name) === cookie.lastIndexOf(name)) return first
  const last = parseCookie(cookie.split(';').reverse().join(';'))[name]
  return first === last ? first : undefined
}
