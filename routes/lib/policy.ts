import type { FastifyContextConfig, FastifyPluginAsync } from 'fastify'

/** The default policy of reading routes; each adds its `access` and its `slo`. */
export const reads = { scope: 'read', rateClass: 'general', priority: 'normal' } as const satisfies FastifyContextConfig

/** The default policy of routes with changes; each adds its `access` and its `audit`. */
export const writes = {
  scope: 'admin',
  rateClass: 'general',
  priority: 'normal',
  slo: 'write'
} as const satisfies FastifyContextConfig

/** The default policy of pages, for people in browsers; each adds its `access`. */
export const pages = { ...reads, page: true, cors: false, slo: 'detail' } as const satisfies FastifyContextConfig

/** The default policy of forms on pages; each adds its `access` and its `audit`. */
export const forms = { ...writes, page: true, cors: false, csrf: true } as const satisfies FastifyContextConfig

/** The policy of operators' routes: they work during maintenance, and only for our own pages. */
export const operators = {
  access: 'operator',
  scope: 'admin',
  rateClass: 'general',
  priority: 'operator',
  maintenance: false,
  cors: false
} as const satisfies FastifyContextConfig

/** The policy of operators' pages, for people in browsers. */
export const operatorPages = { ...operators, page: true, slo: 'detail' } as const satisfies FastifyContextConfig

/** The policy of operators' pages that share their URL with JSON for programs. */
export const operatorLists = { ...operators, page: 'shared' } as const satisfies FastifyContextConfig

/** The policy of forms on operators' pages; each adds its `audit`. */
export const operatorForms = {
  ...operators,
  page: true,
  csrf: true,
  slo: 'write'
} as const satisfies FastifyContextConfig

type Access = NonNullable<FastifyContextConfig['access']>

/** A scope whose routes admit the same kinds of callers; a route with another `access` fails the boot. */
export function scopeFor(allowed: readonly Access[], routes: FastifyPluginAsync): FastifyPluginAsync {
  return async app => {
    app.addHook('onRoute', ({ method, url, config }) => {
      if (config?.access === undefined || !allowed.includes(config.access))
        throw new Error(`${method} ${url}: config.access must be one of ${allowed.join(', ')} in this scope`)
    })
    await app.register(routes)
  }
}
