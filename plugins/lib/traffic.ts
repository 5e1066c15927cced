import type { ServerResponse } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { routeConfig, useRouteConfig } from './route-config.ts'

/** What nginx calls a request whose client left before the reply was complete. It never appears on the wire. */
export const CLIENT_GONE = 499

/** Stands for the pattern of requests that matched no route. */
export const UNMATCHED = '__unmatched__'

const kTraffic = Symbol('rhone.traffic')

/** Told once of every request, when its reply has been sent or was cut off. */
export type EndListener = (request: FastifyRequest, reply: FastifyReply, status: number) => void

export interface Traffic {
  /** Requests that have been routed and are not over. */
  readonly inFlight: number
  /** @param listener must not throw */
  onEnd(listener: EndListener): void
}

/**
 * The requests of an app, shared by the plugins that count them. Fastify's `onResponse` is silent about requests that are
 * cut off, and `onRequestAbort` about those whose body had been read, so the response's `close` is listened to as well.
 *
 * A request is counted from the hook of the first plugin that calls this; the outermost plugins should.
 */
export function traffic(app: FastifyInstance): Traffic {
  if (app.hasDecorator(kTraffic)) return app.getDecorator<Traffic>(kTraffic)

  const kReply = Symbol('rhone.reply')
  type Tracked = ServerResponse & { [kReply]?: FastifyReply | undefined }

  const listeners: EndListener[] = []
  let inFlight = 0

  useRouteConfig(app)

  app.addHook('onRequest', (request, reply, done) => {
    inFlight++
    routeConfig(request) // keeps the route's config, which `reply.callNotFound()` would replace
    ;(reply.raw as Tracked)[kReply] = reply
    reply.raw.on('close', onClose)
    done()
  })

  app.addHook('onResponse', (_request, reply, done) => {
    end(reply.raw, reply.statusCode)
    done()
  })

  function onClose(this: Tracked): void {
    if (this[kReply] !== undefined) end(this, isLiveStream(this[kReply]) ? this.statusCode : CLIENT_GONE)
  }

  function end(raw: Tracked, status: number): void {
    const reply = raw[kReply]
    if (reply === undefined) return
    raw[kReply] = undefined
    inFlight--
    for (const listener of listeners) listener(reply.request, reply, status)
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

/** A stream that has begun is ended by its client: that is no failure of either side. */
function isLiveStream(reply: FastifyReply): boolean {
  const { slo } = routeConfig(reply.request) as { slo?: string }
  return slo === 'stream' && reply.raw.headersSent
}
