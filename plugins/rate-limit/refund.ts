import type { FastifyRequest, onSendHookHandler, RouteOptions } from 'fastify'
import type { RateClass, RateLimiter } from './limiter.ts'

/** Returns the token of a request when its reply has one of the statuses in the route's `config.rateRefund`. */
export function addRefund(
  route: RouteOptions,
  rateClass: RateClass,
  limiter: RateLimiter,
  keyOf: (request: FastifyRequest) => string
): void {
  const statuses = route.config?.rateRefund
  if (statuses === undefined) return
  // Before the reply is sent, so that the client's next request finds the token.
  const refund: onSendHookHandler = (request, reply, _payload, done) => {
    if (!statuses.includes(reply.statusCode)) return done()
    Promise.resolve(limiter.refund(rateClass, keyOf(request))).then(() => done(), done)
  }
  route.onSend = [route.onSend ?? [], refund].flat()
}
