import type { ServerResponse } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { onEntry } from './entry.ts'
import { onClosed } from './response-head.ts'
import { routeConfig, useRouteConfig } from './route-config.ts'

/** nginx's status for a request whose client left before the reply was complete. Never sent on the wire. */
export const CLIENT_GONE = 499

/** The route pattern of unmatched requests. */
export const UNMATCHED = '__unmatched__'

const kTracker = Symbol('rhone.request-tracker')

/**
 * Called once per request, when its reply has been sent or cut off.
 *
 * @param elapsed milliseconds since the request was routed
 * @param now milliseconds, as of `performance.now()`: one reading for all listeners
 */
export type EndListener = (
  request: FastifyRequest,
  reply: FastifyReply,
  status: number,
  elapsed: number,
  now: number
) => void

export interface RequestTracker {
  /** Number of requests routed but not finished. */
  readonly inFlight: number
  /** @param listener must not throw */
  onEnd(listener: EndListener): void
}

/**
 * Tracks an app's requests for all plugins that count them. It listens for the response's `close`, the only event that
 * always fires: Fastify's `onResponse` misses requests that are cut off, and `onRequestAbort` misses those whose body
 * had been read.
 *
 * Counting starts at the entry step of the first plugin that calls this, so the outermost plugins should call it.
 */
export function requestTracker(app: FastifyInstance): RequestTracker {
  if (app.hasDecorator(kTracker)) return app.getDecorator<RequestTracker>(kTracker)

  const kStartedAt = Symbol('rhone.started-at')
  type Tracked = FastifyReply & { [kStartedAt]: number }

  const listeners: EndListener[] = []
  let inFlight = 0

  useRouteConfig(app)
  app.decorateReply(kStartedAt, 0)

  onEntry(app, (request, reply) => {
    inFlight++
    routeConfig(request) // caches the route's config, which `reply.callNotFound()` would replace
    ;(reply as Tracked)[kStartedAt] = performance.now()
    onClosed(reply.raw, () => end(reply as Tracked))
    return undefined
  })

  function end(reply: Tracked): void {
    inFlight--
    const now = performance.now()
    const elapsed = now - reply[kStartedAt]
    const status = wasSent(reply.raw) || isLiveStream(reply) ? reply.raw.statusCode : CLIENT_GONE
    for (const listener of listeners) listener(reply.request, reply, status, elapsed, now)
  }

  const shared: RequestTracker = {
    get inFlight() {
      return inFlight
    },
    onEnd(listener) {
      listeners.push(listener)
    }
  }
  app.decorate(kTracker, shared)
  return shared
}

/** The pattern of the matched route, such as `/apps/:app`; never a URL. */
export function routePattern(request: FastifyRequest): string {
  return routeConfig(request).url ?? UNMATCHED
}

const kPlannedOutage = Symbol('rhone.planned-outage')
type Planned = ServerResponse & { [kPlannedOutage]?: true }

/** Marks a 503 as planned, so that it counts against no objective. */
export function markPlannedOutage({ raw }: FastifyReply): void {
  ;(raw as Planned)[kPlannedOutage] = true
}

export function isPlannedOutage({ raw }: FastifyReply): boolean {
  return (raw as Planned)[kPlannedOutage] === true
}

/** False for a reply that was cut off: its socket is destroyed, or it was not written completely. */
function wasSent({ socket, writableEnded }: ServerResponse): boolean {
  return writableEnded && socket?.destroyed !== true
}

/** Clients end a stream that has started; that is not a failure. */
function isLiveStream(reply: FastifyReply): boolean {
  const { slo } = routeConfig(reply.request) as { slo?: string }
  return slo === 'stream' && reply.raw.headersSent
}
