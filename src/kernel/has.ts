import type { FastifyInstance } from 'fastify'

/** Whether an app has a plugin's decorator: any plugin may be omitted, and another may provide the same decorator. */
export function has(app: FastifyInstance, decorator: string): boolean {
  return app.hasDecorator(decorator)
}

export function registryOf(app: FastifyInstance) {
  return has(app, 'metrics') ? { registry: app.metrics.registry } : {}
}
