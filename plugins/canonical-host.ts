import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { onEntry } from './lib/entry.ts'
import { type PluginInput, parseOptions } from './lib/options.ts'

const HOST = '^([a-z0-9.-]+|\\[[0-9a-f:.]+\\])$'

export const CanonicalHostOptions = Type.Object(
  {
    host: Type.String({
      default: '',
      pattern: `^$|${HOST}`,
      description: 'The host, without a port, to redirect browsers to. Empty: no redirects.'
    }),
    aliases: Type.Array(Type.String({ pattern: HOST }), {
      default: [],
      description: 'Other host names of this server, in lower case, that redirect to it.'
    })
  },
  { additionalProperties: false }
)
export type CanonicalHostOptions = Static<typeof CanonicalHostOptions>

/**
 * Keeps browsers on one of the names that lead to this server, so that its cookies are for that host only. Programs
 * that are no browsers may use any name: what they call is not a page.
 */
const canonicalHost: FastifyPluginAsync<PluginInput<typeof CanonicalHostOptions>> = async (app, input) => {
  const { host, aliases } = parseOptions('rhone-canonical-host', CanonicalHostOptions, input)
  const left = new Set(aliases)
  if (host === '' || left.size === 0) return
  if (left.has(host)) throw new Error(`rhone-canonical-host: option "aliases": must not contain the host, ${host}`)

  onEntry(app, (request, reply) => {
    if (request.headers['sec-fetch-mode'] !== 'navigate' || !left.has(request.hostname.toLowerCase())) return undefined
    const port = Number.isInteger(request.port) ? `:${request.port}` : ''
    const isRead = request.method === 'GET' || request.method === 'HEAD'
    // Forms are not redirected: their cookies belong to the other name.
    const path = isRead ? request.url.replace(/^\/{2,}/, '/') : '/'
    return reply.header('cache-control', 'no-store').redirect(`${request.protocol}://${host}${port}${path}`, 303)
  })
}

export default fp(canonicalHost, { name: 'rhone-canonical-host', fastify: '5.x' })
