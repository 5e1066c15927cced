import { createRequire } from 'node:module'
import * as promClient from '@platformatic/prom-client'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { errors } from '../../plugins/lib/errors.ts'

/** The slot's options that are used here. */
interface MetricsOptions {
  /** The current tokens of scrapers. */
  readonly latestTokens?: () => readonly string[]
}

/** Not imported, since its types declare `app.metrics` as a class of the package. */
const fastifyMetrics: FastifyPluginAsync<object> = createRequire(import.meta.url)('fastify-metrics').default

/**
 * `fastify-metrics` with its own HTTP metrics in place of `metrics`. The other plugins add theirs to
 * `app.metrics.registry`. The endpoint is ours, for the scrapers' token and the policy that every route needs.
 */
export default fp<MetricsOptions>(
  async (app, { latestTokens = () => [] }) => {
    const registry = new promClient.Registry()
    app.decorate('metrics', { registry, scrape: () => registry.metrics() })
    await app.register(fastifyMetrics, {
      name: 'stockMetrics',
      endpoint: null,
      promClient,
      defaultMetrics: { enabled: true, register: registry },
      routeMetrics: {
        enabled: true,
        overrides: { histogram: { registers: [registry] }, summary: { registers: [registry] } }
      }
    })
    app.get(
      '/metrics',
      {
        config: { access: 'metrics', rateClass: false, priority: 'probe', maintenance: false, slo: 'health' },
        schema: { operationId: 'getMetrics', summary: 'Metrics in the Prometheus text format' }
      },
      async (request, reply) => {
        const [, given = ''] = /^bearer +(\S+)$/i.exec(request.headers.authorization ?? '') ?? []
        const tokens = latestTokens()
        if (tokens.length > 0 && !tokens.includes(given)) throw errors.unauthorized()
        return reply.type(registry.contentType).send(await registry.metrics())
      }
    )
  },
  { name: 'stock-metrics', fastify: '5.x' }
)
