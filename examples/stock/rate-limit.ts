import rateLimit from '@fastify/rate-limit'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { errors } from '../../plugins/lib/errors.ts'

interface Rate {
  readonly ratePerSecond: number
  readonly burst: number
}

/** The options of the slot that are used here: a rate per class. */
type RateLimitOptions = Readonly<Record<'general' | 'auth' | 'deploy' | 'webhook' | 'strict', Rate>>

/**
 * `@fastify/rate-limit`, counting in memory, in the place of `rate-limit`: a fixed window for each route, by its rate class.
 * In memory its `groupId` joins no routes, and its hook runs after those of the whole server: it counts no request that
 * authentication has refused, and none without a route.
 */
export default fp<RateLimitOptions>(
  async (app, classes) => {
    // Before the package's own hook, which reads what this one writes.
    app.addHook('onRoute', route => {
      const { rateClass = 'general' } = route.config ?? {}
      route.config = { ...route.config, rateLimit: rateClass !== false && windowOf(classes[rateClass]) }
    })
    await app.register(rateLimit, {
      ...windowOf(classes.general),
      enableDraftSpec: true,
      keyGenerator: (request: FastifyRequest) => request.clientIp?.address ?? request.ip,
      errorResponseBuilder: (_request, { ttl }) => errors.rateLimit(Math.ceil(ttl / 1000))
    })
  },
  { name: 'stock-rate-limit', fastify: '5.x' }
)

/** As many requests as a full bucket holds, in the time that fills an empty one. */
function windowOf({ ratePerSecond, burst }: Rate) {
  return { max: burst, timeWindow: Math.ceil((burst / ratePerSecond) * 1000) }
}
