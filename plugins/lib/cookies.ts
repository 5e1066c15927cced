import { parseCookie } from 'cookie'
import type { FastifyRequest } from 'fastify'

export interface CookieSettings {
  /** Whether clients connect over HTTPS. */
  readonly secure: boolean
  /** Seconds; 0 removes the cookie. */
  readonly maxAge: number
}

/**
 * The cookie's name on the wire. Browsers accept `__Host-` only from the exact host, over HTTPS and for all paths, so a
 * sibling such as an app under the same domain can neither set nor overlay the cookie.
 */
export function cookieName(name: string, secure: boolean): string {
  return secure ? `__Host-${name}` : name
}

/** A cookie hidden from scripts; requests from other sites carry it only on top-level navigation. */
export function setCookie(name: string, value: string, { secure, maxAge }: CookieSettings): string {
  return `${name}=${value}; Path=/; Max-Age=${maxAge}; HttpOnly; SameSite=Lax${secure ? '; Secure' : ''}`
}

/**
 * The value of a cookie. Undefined if it is sent twice with different values: one of them was set by another host, and
 * there is no way to tell which.
 */
export function readCookie({ headers: { cookie } }: FastifyRequest, name: string): string | undefined {
  if (cookie === undefined) return undefined
  const first = parseCookie(cookie)[name]
  if (cookie.indexOf(name) === cookie.lastIndexOf(name)) return first
  const last = parseCookie(cookie.split(';').reverse().join(';'))[name]
  return first === last ? first : undefined
}
