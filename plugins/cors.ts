import type { FastifyCorsOptions } from '@fastify/cors'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { onEntry } from './lib/entry.ts'
import { type AppError, errors } from './lib/errors.ts'
import { type PluginInput, parseOptions } from './lib/options.ts'
import { loadPackages } from './lib/packages.ts'
import { addLines, headerLine } from './lib/response-head.ts'
import { routeConfig, useRouteConfig } from './lib/route-config.ts'
import { routeTable } from './lib/route-table.ts'

export const CorsOptions = Type.Object(
  {
    origins: Type.Array(Type.String(), {
      default: [],
      description: 'Origins whose scripts may call the API with credentials, each exactly as browsers send it.'
    }),
    methods: Type.Array(Type.String(), {
      default: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
      description: 'Methods that a preflight allows.'
    }),
    requestHeaders: Type.Array(Type.String(), {
      default: ['Accept', 'Authorization', 'Content-Type', 'Idempotency-Key', 'If-Match', 'If-None-Match'],
      description: 'Request headers that a preflight allows.'
    }),
    exposedHeaders: Type.Array(Type.String(), {
      default: [
        'ETag',
        'Location',
        'RateLimit',
        'RateLimit-Policy',
        'Retry-After',
        'X-Request-Id',
        'Idempotent-Replayed'
      ],
      description: 'Reply headers that scripts may read.'
    }),
    maxAge: Type.Integer({
      default: 7200,
      minimum: 0,
      maximum: 86_400,
      description: 'Seconds for which a browser may cache a preflight. Chrome allows at most 7200.'
    })
  },
  { additionalProperties: false }
)
export type CorsOptions = Static<typeof CorsOptions>

const VARY = headerLine('vary', 'Origin')

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Closes this route to scripts of other origins. */
    cors?: false
  }
}

const cors: FastifyPluginAsync<PluginInput<typeof CorsOptions>> = async (app, input) => {
  const options = parseOptions('rhone-cors', CorsOptions, input)
  for (const origin of options.origins) refuseInexact(origin)
  const origins = new Set(options.origins)
  const exposed = options.exposedHeaders.join(', ')
  const routes = routeTable(app)
  useRouteConfig(app)

  onEntry(app, (request, reply) => {
    if (routeConfig(request).cors === false) return
    if (!addLines(reply, VARY)) reply.header('vary', 'Origin')
    const { origin } = request.headers
    if (origin === undefined || !origins.has(origin)) return
    reply.header('access-control-allow-origin', origin)
    reply.header('access-control-allow-credentials', 'true')
    reply.header('access-control-expose-headers', exposed)
  })

  await app.register(preflights)

  /**
   * Preflights are answered by `@fastify/cors`. In a separate scope its hook runs for no other request. As a preHandler
   * it runs after all onRequest hooks, above all the rate limit's, have had their chance to refuse.
   */
  async function preflights(scope: typeof app): Promise<void> {
    scope.addHook('onRoute', route => {
      route.config = { ...route.config, access: 'public', rateClass: 'general', maintenance: false, slo: 'detail' }
    })
    const { default: fastifyCors } = await loadPackages('rhone-cors', ['@fastify/cors'], () => import('@fastify/cors'))
    await scope.register(fastifyCors, {
      hook: 'preHandler',
      delegator: (request, decide) => {
        if (!isPreflight(request)) return decide(null, { origin: false })
        decide(refusal(request), policyFor(request.headers.origin as string, options))
      }
    })
  }

  function refusal(request: FastifyRequest): AppError | null {
    const method = request.headers['access-control-request-method'] as string
    const url = request.raw.url as string
    if (!origins.has(request.headers.origin as string)) return errors.forbidden('This origin is not allowed')
    const methods = routes.methodsFor(url)
    if (methods.length === 0) return errors.notFound('Route')
    if (!methods.includes(method)) return errors.methodNotAllowed(methods)
    if (routes.configFor(method, url)?.cors === false) return errors.forbidden('This route is closed to other origins')
    if (request.headers['access-control-request-private-network'] !== undefined)
      return errors.forbidden('This server is not on a private network')
    return null
  }
}

function isPreflight({ headers }: FastifyRequest): boolean {
  return headers.origin !== undefined && headers['access-control-request-method'] !== undefined
}

function policyFor(
  origin: string,
  { methods, requestHeaders, exposedHeaders, maxAge }: CorsOptions
): FastifyCorsOptions {
  return { origin, credentials: true, methods, allowedHeaders: requestHeaders, exposedHeaders, maxAge }
}

/** Credentials are allowed, so an inexact origin (a wildcard or `null`) would give every site the user's rights. */
function refuseInexact(origin: string): void {
  const url = URL.parse(origin)
  if (url?.origin !== origin || !['http:', 'https:'].includes(url.protocol) || origin.includes('*'))
    throw new Error(
      `rhone-cors: option "origins": ${JSON.stringify(origin)} is not an exact origin such as "https://console.example.com"`
    )
}

export default fp(cors, { name: 'rhone-cors', fastify: '5.x' })
