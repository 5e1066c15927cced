import type { IncomingMessage } from 'node:http'

/** They concern one connection, and are not passed on to the next. */
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

/** What a client says of the way that its request has come; nobody has said it on the way to us. */
const OF_THE_WAY = [
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-proto',
  'x-real-ip'
]

/** The authority and the path of a request's target: an absolute one stands above the Host header. */
export function targetOf(url: string): { readonly host: string | null; readonly path: string } {
  const [, host = null, path = ''] = /^http:\/\/([^/?#]*)(.*)$/is.exec(url) ?? []
  if (host === null) return { host, path: url }
  return { host, path: path.startsWith('/') ? path : `/${path}` }
}

/** The host that a request is for. */
export const hostOf = ({ url, headers }: IncomingMessage): string | undefined => targetOf(url!).host ?? headers.host

/**
 * The headers of a request for the app, as names and values in turn.
 *
 * @param isUpgrade whether the connection to the app may become something else than HTTP
 */
export function requestHeaders(request: IncomingMessage, isUpgrade: boolean): string[] {
  const headers = passedOn(request, [...OF_THE_WAY, 'host'])
  const host = hostOf(request) ?? ''
  const { upgrade = '', te, 'transfer-encoding': coding } = request.headers
  const address = request.socket.remoteAddress ?? '127.0.0.1'
  headers.push('Host', host, 'X-Forwarded-For', address, 'X-Forwarded-Host', host, 'X-Forwarded-Proto', 'http')
  if (coding !== undefined) headers.push('Transfer-Encoding', 'chunked')
  if (isUpgrade) return [...headers, 'Connection', 'Upgrade', 'Upgrade', upgrade]
  // Even where the connection is for one request: an app that closes it with a body unread takes its reply back.
  const takesTrailers = /(^|,)\s*trailers\s*(,|$)/i.test(String(te ?? ''))
  return takesTrailers
    ? [...headers, 'Connection', 'keep-alive, TE', 'TE', 'trailers']
    : [...headers, 'Connection', 'keep-alive']
}

/** The headers of a reply for the client, as names and values in turn. */
export function replyHeaders(reply: IncomingMessage): string[] {
  const headers = passedOn(reply, [])
  if (reply.statusCode === 101) headers.push('Connection', 'Upgrade', 'Upgrade', reply.headers.upgrade ?? '')
  return headers
}

function passedOn({ rawHeaders, headers }: IncomingMessage, alsoLeftOut: readonly string[]): string[] {
  const named = headers.connection?.toLowerCase().split(',') ?? []
  const leftOut = new Set([...HOP_BY_HOP, ...alsoLeftOut, ...named.map(name => name.trim())])
  // Nobody may have us leave out what says where the body ends.
  leftOut.delete('content-length')
  const kept: string[] = []
  for (let at = 0; at < rawHeaders.length; at += 2)
    if (!leftOut.has(rawHeaders[at]!.toLowerCase())) kept.push(rawHeaders[at]!, rawHeaders[at + 1]!)
  return kept
}

const SLUG = /^([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)\.localhost\.?(?::\d{1,5})?$/

/** The app that a Host header names, or null. */
export function slugOf(host: string | undefined): string | null {
  return SLUG.exec(host?.toLowerCase() ?? '')?.[1] ?? null
}
