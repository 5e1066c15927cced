import type { FastifyContextConfig, FastifyInstance, FastifyRequest, preValidationHookHandler } from 'fastify'
import { routeConfig, useRouteConfig } from '../lib/route-config.ts'
import type { Flow, Priority } from './flow.ts'
import type { ConcurrencyLimiter, LatencyMeter } from './limiter.ts'
import { UntrackedTicket } from './tickets.ts'

/** How the requests of a route are admitted. */
export interface RoutePolicy {
  readonly flow: Flow
  readonly meter: LatencyMeter
  readonly isStream: boolean
  /** Whether requests may have a body. It is read before admission, so that slow senders hold no place. */
  readonly readsBody: boolean
  /** The ticket of requests that are not measured. */
  readonly ticket: UntrackedTicket
}

const kPolicy = Symbol('rhone.admission-policy')

declare module 'fastify' {
  interface FastifyContextConfig {
    [kPolicy]?: RoutePolicy | null
  }
}

/** Methods for which Fastify reads no request body. */
const BODILESS = ['GET', 'HEAD', 'TRACE']

/** The policy of every route; null for routes whose requests are always admitted. */
export class RoutePolicies {
  readonly #flow: (priority: Priority) => Flow
  readonly #limiter: ConcurrencyLimiter

  constructor(flow: (priority: Priority) => Flow, limiter: ConcurrencyLimiter) {
    this.#flow = flow
    this.#limiter = limiter
  }

  /**
   * @param afterBody hook for routes that read a body; runs before the route's own hooks, which may query the database
   */
  describeRoutes(app: FastifyInstance, afterBody: (policy: RoutePolicy) => preValidationHookHandler): void {
    useRouteConfig(app)
    app.addHook('onRoute', route => {
      const readsBody = [route.method].flat().some(method => !BODILESS.includes(method))
      const policy = this.#describe(route.config ?? {}, readsBody)
      route.config = { ...route.config, [kPolicy]: policy }
      if (policy?.readsBody) route.preValidation = [afterBody(policy), ...[route.preValidation ?? []].flat()]
    })
  }

  /**
   * A route registered before this plugin gets its policy at its first request; a request that matched no route gets
   * null.
   */
  of(request: FastifyRequest): RoutePolicy | null {
    const config = routeConfig(request)
    if (config[kPolicy] !== undefined) return config[kPolicy]
    if (config.url === undefined) return null
    config[kPolicy] = this.#describe(config, false)
    return config[kPolicy]
  }

  #describe(config: Partial<FastifyContextConfig>, hasBody: boolean): RoutePolicy | null {
    const { priority = 'normal', slo } = config as { priority?: Priority | 'probe'; slo?: string }
    if (priority === 'probe') return null
    const flow = this.#flow(priority)
    const isStream = slo === 'stream'
    const ticket = new UntrackedTicket(flow)
    return { flow, meter: this.#limiter.meter(), isStream, readsBody: hasBody && !isStream, ticket }
  }
}
