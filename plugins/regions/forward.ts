import type { RequestOptions } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { isIP } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from '../lib/http.ts'

/** Marks a forwarded request, so that it is not forwarded again. */
export const FORWARDED = 'x-rhone-forwarded'

export interface Forwarder {
  /**
   * Replies with the other server's answer. Both bodies are streamed.
   * @throws Error if the other server has not begun an answer
   */
  send(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply>
  close(): void
}

/** Headers about one connection, which mean nothing on the next. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade'
])

/**
 * Forwards requests to another server, keeping the host name that the client used.
 * @param timeout milliseconds of silence after which the other server counts as gone
 */
export function forwarder(origin: URL, timeout: number): Forwarder {
  const isSecure = origin.protocol === 'https:'
  const agent = isSecure ? new HttpsAgent({ keepAlive: true }) : new HttpAgent({ keepAlive: true })
  const host = origin.hostname.replace(/^\[(.*)\]$/, '$1')
  const place: RequestOptions & { servername?: string } = {
    host,
    port: origin.port || (isSecure ? 443 : 80),
    agent,
    timeout,
    ...(isSecure && isIP(host) === 0 && { servername: host })
  }

  return {
    async send(request, reply) {
      const { raw } = request
      const outgoing = (isSecure ? httpsRequest : httpRequest)({
        ...place,
        method: raw.method,
        path: raw.url,
        headers: headersOf(request)
      })
      const answer = new Promise<IncomingMessage>((resolve, reject) => {
        outgoing.once('response', resolve)
        outgoing.on('error', reject)
        outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer within ${timeout} ms`)))
      })
      reply.raw.once('close', () => outgoing.destroy())
      raw.on('error', error => outgoing.destroy(error))
      raw.pipe(outgoing)

      const incoming = await answer
      reply.code(incoming.statusCode!)
      for (const [name, value] of Object.entries(incoming.headers))
        if (value !== undefined && !HOP_BY_HOP.has(name)) reply.header(name, value)
      return reply.send(incoming)
    },
    close: () => agent.destroy()
  }
}

function headersOf(request: FastifyRequest): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = {}
  const named = new Set(
    (request.headers.connection ?? '')
      .toLowerCase()
      .split(',')
      .map(name => name.trim())
  )
  for (const [name, value] of Object.entries(request.headers))
    if (value !== undefined && !HOP_BY_HOP.has(name) && !named.has(name)) headers[name] = value
  if (request.headers['transfer-encoding'] !== undefined) headers['transfer-encoding'] = 'chunked'
  const earlier = request.headers['x-forwarded-for']
  const hops = [earlier === undefined ? [] : earlier, request.raw.socket.remoteAddress ?? []].flat()
  return { ...headers, 'x-forwarded-for': hops.join(', '), 'x-request-id': request.id, [FORWARDED]: '1' }
}
