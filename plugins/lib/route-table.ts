import type { FastifyContextConfig, FastifyInstance, RouteOptions } from 'fastify'
import findMyWay, { type HTTPMethod } from 'find-my-way'

/** Answers what Fastify's own router does not: which methods a URL has, whatever method it was asked with. */
export interface RouteTable {
  /** The methods that have a route for this URL, sorted; empty when the URL is unknown. */
  methodsFor(url: string): readonly string[]
  /** The `config` of the route that a method and URL lead to. */
  configFor(method: string, url: string): FastifyContextConfig | undefined
}

const kRouteTable = Symbol('rhone.route-table')

/** The app's table: made by the first plugin that asks, which must do so before the routes that it wants to see. */
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
    if (route.url === '*') return // catches every URL, so it says nothing about any of them
    for (const method of methodsOf(route)) {
      if (router.hasRoute(method, route.url)) continue // again, under another constraint
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

/** The table is only searched. */
function unreachable(): void {}
