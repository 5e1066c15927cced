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
  const added: RouteOptions[] = []
  let searchable: Searchable | undefined

  app.addHook('onRoute', route => {
    if (route.url === '*') return // matches every URL, so it carries no information
    added.push(route)
    searchable = undefined
  })

  // Built on first use: it takes as long as Fastify's own table, and a process whose clients make no mistake needs none.
  const table = () => (searchable ??= build(app, added))

  return {
    methodsFor(url) {
      const { router, methods } = table()
      return methods.filter(method => router.find(method, url) !== null)
    },
    configFor: (method, url) => table().router.find(method as HTTPMethod, url)?.store
  }
}

interface Searchable {
  readonly router: ReturnType<typeof findMyWay>
  /** The methods of all routes, sorted. */
  readonly methods: readonly HTTPMethod[]
}

function build({ initialConfig }: FastifyInstance, added: readonly RouteOptions[]): Searchable {
  const { ignoreTrailingSlash, ignoreDuplicateSlashes, caseSensitive, routerOptions } = initialConfig
  const router = findMyWay({ ignoreTrailingSlash, ignoreDuplicateSlashes, caseSensitive, ...routerOptions })
  const methods = new Set<HTTPMethod>()
  for (const route of added)
    for (const method of methodsOf(route)) {
      if (router.hasRoute(method, route.url)) continue // already added, under another constraint
      router.on(method, route.url, unreachable, route.config ?? {})
      methods.add(method)
    }
  return { router, methods: [...methods].sort() }
}

function methodsOf(route: RouteOptions): HTTPMethod[] {
  return (Array.isArray(route.method) ? route.method : [route.method]) as HTTPMethod[]
}

/** Placeholder handler: the table is only searched, never executed. */
function unreachable(): void {}
