import type * as client from '@platformatic/prom-client'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import type { AuthorizeAtOnce } from '../lib/authorize.ts'
import { gauge } from '../lib/metrics.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import { requirePackage } from '../lib/packages.ts'
import { requestTracker } from '../lib/request-tracker.ts'
import { routeConfig } from '../lib/route-config.ts'
import { singleFlight } from '../lib/single-flight.ts'
import { HttpSeries, type RouteSeries } from './http-series.ts'
import { type MetricsPeers, scrapeAll } from './peers.ts'
import { scraperCheck } from './scrapers.ts'

export const MetricsOptions = Type.Object(
  {
    tokens: Type.Array(Type.String({ minLength: 1 }), {
      default: [],
      description: 'Bearer tokens for scraping; any of them is accepted.'
    }),
    allowLoopback: Type.Boolean({
      default: false,
      description:
        'Without a token, answer peers on this machine that request localhost. Not for use behind a proxy, where every client is such a peer.'
    }),
    version: Type.String({ default: 'unknown', description: 'The version shown in rhone_build_info.' }),
    buckets: Type.Array(Type.Number({ exclusiveMinimum: 0 }), {
      default: [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 1, 2.5, 5, 10],
      minItems: 1,
      description: 'Upper bounds of the duration histogram in seconds, ascending.'
    }),
    maxSeries: Type.Integer({
      default: 2000,
      minimum: 1,
      description: 'Maximum number of combinations of method, path and status. Further ones are counted as one path.'
    }),
    scrapeTtl: Type.Integer({
      default: 1000,
      minimum: 0,
      description: 'Milliseconds for which a scrape is cached.'
    })
  },
  { additionalProperties: false }
)
export type MetricsOptions = Static<typeof MetricsOptions>

export interface MetricsDeps {
  /** Other apps that form one instance with this one: a scrape of any of them returns the metrics of all. */
  peers?: MetricsPeers
  /** Whether a peer on this machine may read without a token; false refuses. Without it, all of them may. */
  trusts?: AuthorizeAtOnce
  /** The current tokens, in place of `tokens`, if they can change while the server runs. */
  latestTokens?: () => readonly string[]
}

export type { MetricsPeers }

export interface Metrics {
  /** This app's own registry; nothing goes to the process-wide one. */
  readonly registry: client.Registry
  /** The body of a scrape: the metrics of all apps of this instance. */
  scrape(): Promise<string>
}

const NAME = 'rhone-metrics'

const kSeries = Symbol('rhone.series')
declare module 'fastify' {
  interface FastifyInstance {
    metrics: Metrics
  }
  interface FastifyContextConfig {
    [kSeries]?: RouteSeries
  }
}

/** Default metrics that we drop: gauges named like counters; the last also walks every open handle. */
const MISNAMED = ['nodejs_active_resources_total', 'nodejs_active_requests_total', 'nodejs_active_handles_total']

/**
 * Counts and times every request, including refused and aborted ones, and answers scrapes. Register it before any
 * plugin that may refuse requests.
 */
const metrics: FastifyPluginAsync<PluginInput<typeof MetricsOptions, MetricsDeps>> = async (app, input) => {
  const { tokens, allowLoopback, version, buckets, maxSeries, scrapeTtl } = parseOptions(NAME, MetricsOptions, input, [
    'peers',
    'trusts',
    'latestTokens'
  ])
  const { trusts = () => true, latestTokens = () => tokens } = input
  const checkScraper = scraperCheck({ tokens: latestTokens, allowLoopback, trusts })
  if (buckets.some((bound, index) => bound <= (buckets[index - 1] ?? 0)))
    throw new Error('rhone-metrics: option "buckets": must be ascending')

  const promClient = requirePackage<typeof client>(NAME, '@platformatic/prom-client')
  const registry = new promClient.Registry()
  const scrape = singleFlight(scrapeTtl, input.peers ? scrapeAll(registry, input.peers) : () => registry.metrics())
  app.decorate('metrics', { registry, scrape })
  await collectProcessMetrics()
  gauge(registry, { name: 'rhone_build_info', help: 'The running version; always 1.', labelNames: ['version'] })
    .labels(version)
    .set(1)

  const requests = requestTracker(app)
  const http = new HttpSeries(registry, { buckets, maxSeries, inFlight: () => requests.inFlight })

  app.addHook('onRoute', route => {
    const methods = [route.method].flat()
    const series = http.route(route.url, methods, route.config?.slo)
    http.expect(series, methods.filter(isOfClients), expectedStatuses(route))
    route.config = { ...route.config, [kSeries]: series }
  })
  requests.onEnd((request, _reply, status, elapsed) => {
    http.count(seriesOf(request), request.method, status, elapsed / 1000)
  })

  app.get(
    '/metrics',
    {
      config: {
        access: 'metrics',
        cors: false,
        rateClass: false,
        priority: 'probe',
        maintenance: false,
        log: 'debug',
        slo: 'health'
      },
      schema: {
        operationId: 'getMetrics',
        summary: 'Metrics in the Prometheus text format',
        tags: ['health'],
        response: { 200: { content: { 'text/plain': { schema: Type.String() } } } }
      }
    },
    async (request, reply) => {
      checkScraper(request)
      return reply.type(registry.contentType).send(await scrape())
    }
  )

  /** Routes added before this plugin are found by their pattern. */
  function seriesOf(request: FastifyRequest): RouteSeries {
    const { [kSeries]: bound, url, slo } = routeConfig(request)
    if (bound !== undefined) return bound
    return url === undefined ? http.unmatched : http.route(url, [request.method], slo)
  }

  async function collectProcessMetrics(): Promise<void> {
    // Not imported: its types declare `app.metrics` as a class of that package.
    const stock = requirePackage<{ default: FastifyPluginAsync<Record<string, unknown>> }>(NAME, 'fastify-metrics')
    await app.register(stock.default, {
      name: 'processMetrics',
      endpoint: null,
      promClient,
      defaultMetrics: { enabled: true, register: registry },
      routeMetrics: { enabled: false }
    })
    for (const name of MISNAMED) registry.removeSingleMetric(name)
  }
}

/** HEAD and OPTIONS routes come along with those of other methods. */
const isOfClients = (method: string): boolean => method !== 'HEAD' && method !== 'OPTIONS'

/** The status of a route's success, and of its failure. */
function expectedStatuses({ schema }: RouteOptions): number[] {
  const described = Object.keys((schema?.response as object | undefined) ?? {}).map(Number)
  return [described.find(status => status >= 200 && status < 400) ?? 200, 500]
}

export default fp(metrics, { name: NAME, fastify: '5.x' })
