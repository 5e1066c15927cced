import type { FastifyInstance, FastifyRequest } from 'fastify'

const kConfig = Symbol('rhone.route-config')

/** A route's config for plugins, plus its method and pattern. Empty for an unmatched request. */
type RouteConfig = Partial<FastifyRequest['routeOptions']['config']>

/** Route config keys that several plugins read; every other key is declared by the plugin that reads it. */
declare module 'fastify' {
  interface FastifyContextConfig {
    /**
     * The route replies with HTML; its errors and headers are those of a page. `shared`: only to clients that prefer
     * HTML, and with JSON to all others.
     */
    page?: true | 'shared'
    /**
     * The route's service level class. The first five have a latency objective; `upstream` waits for another service,
     * and a `stream` lasts as long as its client listens.
     */
    slo?: 'health' | 'list' | 'detail' | 'write' | 'search' | 'upstream' | 'stream'
    /**
     * The order of refusal under overload: bulk first, then normal (the default), then the others. Probes are never
     * refused, and are answered even before startup is complete.
     */
    priority?: 'probe' | 'operator' | 'webhook' | 'normal' | 'bulk'
    /** A sensitive action: a session must have signed in recently. */
    stepUp?: true
  }
  interface FastifyRequest {
    [kConfig]: RouteConfig | null
  }
}

/** Prepares an app for {@link routeConfig}. Each plugin that reads route config in a hook must call this once. */
export function useRouteConfig(app: FastifyInstance): void {
  if (!app.hasRequestDecorator(kConfig)) app.decorateRequest(kConfig, null)
}

/**
 * The `config` of the route that a request matched; empty for an unmatched one.
 *
 * `request.routeOptions` builds a twelve-key object on every access. Many hooks read the config of the same request, so
 * the first access caches it.
 */
export function routeConfig(request: FastifyRequest): RouteConfig {
  request[kConfig] ??= request.routeOptions.config
  return request[kConfig]
}
