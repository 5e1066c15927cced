import type { FastifyInstance, FastifyRequest } from 'fastify'

const kConfig = Symbol('rhone.route-config')

/** What a route says of itself to plugins, and its method and pattern. An unmatched request has none of it. */
type RouteConfig = Partial<FastifyRequest['routeOptions']['config']>

/** The keys of a route's config that several plugins read; every other one is declared by the plugin that reads it. */
declare module 'fastify' {
  interface FastifyContextConfig {
    /** This route answers with HTML: its errors and its headers are those of a page. */
    page?: true
    /**
     * The service level class of the route. The first five promise a latency; `upstream` waits for another service, and a
     * `stream` lasts as long as its client listens.
     */
    slo?: 'health' | 'list' | 'detail' | 'write' | 'search' | 'upstream' | 'stream'
    /**
     * Who is refused first when there is too much to do: bulk, then normal (the default), then the others. Probes are
     * never refused, and answered before the start is complete.
     */
    priority?: 'probe' | 'operator' | 'webhook' | 'normal' | 'bulk'
    /** What this route does is grave: whoever calls it must have signed in a short while ago. */
    stepUp?: true
  }
  interface FastifyRequest {
    [kConfig]: RouteConfig | null
  }
}

/** Prepares an app for {@link routeConfig}. Every plugin that reads route config in a hook calls this once. */
export function useRouteConfig(app: FastifyInstance): void {
  if (!app.hasRequestDecorator(kConfig)) app.decorateRequest(kConfig, null)
}

/**
 * The `config` of the route that a request has matched; empty for an unmatched one.
 *
 * `request.routeOptions` builds a twelve-key object at every access. Hooks of many plugins read the config of the same
 * request, so the first one keeps it here.
 */
export function routeConfig(request: FastifyRequest): RouteConfig {
  request[kConfig] ??= request.routeOptions.config
  return request[kConfig]
}
