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
 * The value of a cookie. One that comes more than once has been set by somebody else, too, and which is whose cannot be
 * told, so that neither counts.
 */
export function readCookie(request: FastifyRequest, name: string): string | undefined {
  const { cookie } = request.headers
  if (cookie === undefined) return undefined
  let found: string | undefined
  for (const pair of cookie.split(';')) {
    const equals = pair.indexOf('=')
    if (equals === -1 || pair.slice(0, equals).trim() !== name) continue
    if (found !== undefined) return undefined
    found = pair.slice(equals + 1).trim()
  }
  return found
}
