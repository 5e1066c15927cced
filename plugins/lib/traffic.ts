import type { ServerResponse } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { onEntry } from './entry.ts'
import { routeConfig, useRouteConfig } from './route-config.ts'

/** What nginx calls a request whose client left before the reply was complete. It never appears on the wire. */
export const CLIENT_GONE = 499

/** Stands for the pattern of requests that matched no route. */
export const UNMATCHED = '__unmatched__'

const kTraffic = Symbol('rhone.traffic')

/**
 * Told once of every request, when its reply has been sent or was cut off.
 *
 * @param elapsed milliseconds since the request was routed
 */
export type EndListener = (request: FastifyRequest, reply: FastifyReply, status: number, elapsed: number) => void

export interface Traffic {
  /** Requests that have been routed and are not over. */
  readonly inFlight: number
  /** @param listener must not throw */
  onEnd(listener: EndListener): void
}

/**
 * The requests of an app, shared by the plugins that count them. The response's `close` is listened to, because it is the
 * one event that always comes: Fastify's `onResponse` is silent about requests that are cut off, and `onRequestAbort`
 * about those whose body had been read.
 *
 * A request is counted from the entry step of the first plugin that calls this; the outermost plugins should.
 */
export function traffic(app: FastifyInstance): Traffic {
  if (app.hasDecorator(kTraffic)) return app.getDecorator<Traffic>(kTraffic)

  const kStartedAt = Symbol('rhone.started-at')
  type Tracked = FastifyReply & { [kStartedAt]: number }

  const listeners: EndListener[] = []
  let inFlight = 0

  useRouteConfig(app)
  app.decorateReply(kStartedAt, 0)

  onEntry(app, (request, reply) => {
    inFlight++
    routeConfig(request) // keeps the route's config, which `reply.callNotFound()` would replace
    ;(reply as Tracked)[kStartedAt] = performance.now()
    reply.raw.on('close', () => end(reply as Tracked))
    return undefined
  })

  function end(reply: Tracked): void {
    inFlight--
    const elapsed = performance.now() - reply[kStartedAt]
    const status = wasSent(reply.raw) || isLiveStream(reply) ? reply.raw.statusCode : CLIENT_GONE
    for (const listener of listeners) listener(reply.request, reply, status, elapsed)
  }

  const shared: Traffic = {
    get inFlight() {
      return inFlight
    },
    onEnd(listener) {
      listeners.push(listener)
    }
  }
  app.decorate(kTraffic, shared)
  return shared
}

/** The pattern of the route that a request has matched: `/apps/:app`, never a URL. */
export function routePattern(request: FastifyRequest): string {
  return routeConfig(request).url ?? UNMATCHED
}

const kPlannedOutage = Symbol('rhone.planned-outage')
type Planned = ServerResponse & { [kPlannedOutage]?: true }

/** Says of a 503 that it was planned, so that it counts against no objective. */
export function markPlannedOutage({ raw }: FastifyReply): void {
  ;(raw as Planned)[kPlannedOutage] = true
}

export function isPlannedOutage({ raw }: FastifyReply): boolean {
  return (raw as Planned)[kPlannedOutage] === true
}

/** A reply that was cut off has been left by its socket, or has not been given to it as a whole. */
function wasSent({ socket, writableEnded }: ServerResponse): boolean {
  return writableEnded && socket?.destroyed !== true
}

/** A stream that has begun is ended by its client: that is no failure of either side. */
function isLiveStream(reply: FastifyReply): boolean {
  const { slo } = routeConfig(reply.request) as { slo?: string }
  return slo === 'stream' && reply.raw.headersSent
}
