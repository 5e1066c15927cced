import type { FastifyInstance } from 'fastify'

/** Whether an app has what a plugin brings: any may be left out, or another may have brought it. */
export function has(app: FastifyInstance, decorator: string): boolean {
  return app.hasDecorator(decorator)
}

export function registryOf(app: FastifyInstance) {
  return has(app, 'metrics') ? { registry: app.metrics.registry } : {}
}
