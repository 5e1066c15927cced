import type { IncomingMessage } from 'node:http'

/** Hop-by-hop headers, which are not forwarded. */
const HOP_BY_HOP = [
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade'
]

/** Forwarding headers from a client: there is no proxy in front of this one, so they are not trusted. */
const OF_THE_WAY = [
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-proto',
  'x-real-ip'
]

/** The authority and path of a request target: an absolute target takes precedence over the Host header. */
export function targetOf(url: string): { readonly host: string | null; readonly path: string } {
  const [, host = null, path = ''] = /^http:\/\/([^/?#]*)(.*)$/is.exec(url) ?? []
  if (host === null) return { host, path: url }
  return { host, path: path.startsWith('/') ? path : `/${path}` }
}

/** The requested host. */
export const hostOf = ({ url, headers }: IncomingMessage): string | undefined => targetOf(url!).host ?? headers.host

/**
 * The request headers for the app, as alternating names and values.
 *
 * @param isUpgrade whether the connection to the app may switch to another protocol
 */
export function requestHeaders(request: IncomingMessage, isUpgrade: boolean): string[] {
  const headers = passedOn(request, [...OF_THE_WAY, 'host'])
  const host = hostOf(request) ?? ''
  const { upgrade = '', te, 'transfer-encoding': coding } = request.headers
  const address = request.socket.remoteAddress ?? '127.0.0.1'
  headers.push('Host', host, 'X-Forwarded-For', address, 'X-Forwarded-Host', host, 'X-Forwarded-Proto', 'http')
  if (coding !== undefined) headers.push('Transfer-Encoding', 'chunked')
  if (isUpgrade) return [...headers, 'Connection', 'Upgrade', 'Upgrade', upgrade]
  // Even on a single-use connection: an app that closes it with an unread body would discard its own reply.
  const takesTrailers = /(^|,)\s*trailers\s*(,|$)/i.test(String(te ?? ''))
  return takesTrailers
    ? [...headers, 'Connection', 'keep-alive, TE', 'TE', 'trailers']
    : [...headers, 'Connection', 'keep-alive']
}

/** The reply headers for the client, as alternating names and values. */
export function replyHeaders(reply: IncomingMessage): string[] {
  const headers = passedOn(reply, [])
  if (reply.statusCode === 101) headers.push('Connection', 'Upgrade', 'Upgrade', reply.headers.upgrade ?? '')
  return headers
}

function passedOn({ rawHeaders, headers }: IncomingMessage, alsoLeftOut: readonly string[]): string[] {
  const named = headers.connection?.toLowerCase().split(',') ?? []
  const leftOut = new Set([...HOP_BY_HOP, ...alsoLeftOut, ...named.map(name => name.trim())])
  // A peer must not be able to remove the header that delimits the body.
  leftOut.delete('content-length')
  const kept: string[] = []
  for (let at = 0; at < rawHeaders.length; at += 2)
    if (!leftOut.has(rawHeaders[at]!.toLowerCase())) kept.push(rawHeaders[at]!, rawHeaders[at + 1]!)
  return kept
}

const SLUG = /^([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)\.localhost\.?(?::\d{1,5})?$/

/** The slug in a Host header, or null. */
export function slugOf(host: string | undefined): string | null {
  return SLUG.exec(host?.toLowerCase() ?? '')?.[1] ?? null
}
