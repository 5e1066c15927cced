import type { FastifyContextConfig, FastifyInstance, FastifyRequest, preValidationHookHandler } from 'fastify'
import { routeConfig, useRouteConfig } from '../lib/route-config.ts'
import type { Lane, Priority } from './admission.ts'
import type { ConcurrencyLimiter, LatencyMeter } from './limiter.ts'
import { PlainTicket } from './tickets.ts'

/** How the requests of a route come in. */
export interface Passage {
  readonly lane: Lane
  readonly meter: LatencyMeter
  readonly isStream: boolean
  /** They may have a body. That is read first, lest those who send it slowly take the places. */
  readonly isLate: boolean
  /** What those hold that are not measured. */
  readonly ticket: PlainTicket
}

const kPassage = Symbol('rhone.passage')

declare module 'fastify' {
  interface FastifyContextConfig {
    [kPassage]?: Passage | null
  }
}

/** Methods whose requests Fastify reads no body of. */
const BODILESS = ['GET', 'HEAD', 'TRACE']

/** The passage of every route; null for those whose requests always come in. */
export class Passages {
  readonly #lanes: Readonly<Record<Priority, Lane>>
  readonly #limiter: ConcurrencyLimiter

  constructor(lanes: Readonly<Record<Priority, Lane>>, limiter: ConcurrencyLimiter) {
    this.#lanes = lanes
    this.#limiter = limiter
  }

  /** @param afterBody the hook of late passages; before those of the route, which may ask the database */
  describeRoutes(app: FastifyInstance, afterBody: (passage: Passage) => preValidationHookHandler): void {
    useRouteConfig(app)
    app.addHook('onRoute', route => {
      const isLate = [route.method].flat().some(method => !BODILESS.includes(method))
      const passage = this.#describe(route.config ?? {}, isLate)
      route.config = { ...route.config, [kPassage]: passage }
      if (passage?.isLate) route.preValidation = [afterBody(passage), ...[route.preValidation ?? []].flat()]
    })
  }

  /** Routes that were there before this plugin are met here for the first time. What matched none is soon answered. */
  of(request: FastifyRequest): Passage | null {
    const config = routeConfig(request)
    if (config[kPassage] !== undefined) return config[kPassage]
    if (config.url === undefined) return null
    config[kPassage] = this.#describe(config, false)
    return config[kPassage]
  }

  #describe(config: Partial<FastifyContextConfig>, hasBody: boolean): Passage | null {
    const { priority = 'normal', slo } = config as { priority?: Priority | 'probe'; slo?: string }
    if (priority === 'probe') return null
    const lane = this.#lanes[priority]
    const meter = this.#limiter.meter()
    const isStream = slo === 'stream'
    return { lane, meter, isStream, isLate: hasBody && !isStream, ticket: new PlainTicket(lane) }
  }
}
