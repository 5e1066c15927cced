import type { FastifyContextConfig, FastifyPluginAsync } from 'fastify'

/** What most routes that read have in common; each adds its `access` and its `slo`. */
export const reads = { scope: 'read', rateClass: 'general', priority: 'normal' } as const satisfies FastifyContextConfig

/** What most routes that change something have in common; each adds its `access` and its `audit`. */
export const writes = {
  scope: 'admin',
  rateClass: 'general',
  priority: 'normal',
  slo: 'write'
} as const satisfies FastifyContextConfig

/** What operators' routes have in common: they work on while the platform is closed, and for our own pages only. */
export const operators = {
  access: 'operator',
  scope: 'admin',
  rateClass: 'general',
  priority: 'operator',
  maintenance: false,
  cors: false
} as const satisfies FastifyContextConfig

type Access = NonNullable<FastifyContextConfig['access']>

/** A scope of routes that all let in the same kind of caller; a route that lets in another one fails the boot. */
export function scopeFor(allowed: readonly Access[], routes: FastifyPluginAsync): FastifyPluginAsync {
  return async app => {
    app.addHook('onRoute', ({ method, url, config }) => {
      if (config?.access === undefined || !allowed.includes(config.access))
        throw new Error(`${method} ${url}: config.access must be one of ${allowed.join(', ')} in this scope`)
    })
    await app.register(routes)
  }
}
