import type { FastifyContextConfig, FastifyInstance, RouteOptions } from 'fastify'
import findMyWay, { type HTTPMethod } from 'find-my-way'

/** Looks up which methods a URL supports, which Fastify's own router cannot tell. */
export interface RouteTable {
  /** The methods that have a route for this URL, sorted; empty when the URL is unknown. */
  methodsFor(url: string): readonly string[]
  /** The `config` of the route for a method and URL. */
  configFor(method: string, url: string): FastifyContextConfig | undefined
}

const kRouteTable = Symbol('rhone.route-table')

/** The app's route table, created on first use. It only contains routes registered after that. */
export function routeTable(app: FastifyInstance): RouteTable {
  if (!app.hasDecorator(kRouteTable)) app.decorate(kRouteTable, createRouteTable(app))
  return app.getDecorator<RouteTable>(kRouteTable)
}

function createRouteTable(app: FastifyInstance): RouteTable {
  const { ignoreTrailingSlash, ignoreDuplicateSlashes, caseSensitive } = app.initialConfig
  const methods = new Set<HTTPMethod>()
  const router = findMyWay({
    ignoreTrailingSlash,
    ignoreDuplicateSlashes,
    caseSensitive,
    ...app.initialConfig.routerOptions
  })

  app.addHook('onRoute', route => {
    if (route.url === '*') return // matches every URL, so it carries no information
    for (const method of methodsOf(route)) {
      if (router.hasRoute(method, route.url)) continue // already added, under another constraint
      router.on(method, route.url, unreachable, route.config ?? {})
      methods.add(method)
    }
  })

  return {
    methodsFor: url => [...methods].filter(method => router.find(method, url) !== null).sort(),
    configFor: (method, url) => router.find(method as HTTPMethod, url)?.store
  }
}

function methodsOf(route: RouteOptions): HTTPMethod[] {
  return (Array.isArray(route.method) ? route.method : [route.method]) as HTTPMethod[]
}

/** Placeholder handler: the table is only searched, never executed. */
function unreachable(): void {}
