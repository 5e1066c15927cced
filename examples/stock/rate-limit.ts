import rateLimit from '@fastify/rate-limit'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { errors } from '../../plugins/lib/errors.ts'

interface Rate {
  readonly ratePerSecond: number
  readonly burst: number
}

/** The slot's options that are used here: a rate per class. */
type RateLimitOptions = Readonly<Record<'general' | 'auth' | 'deploy' | 'webhook' | 'strict', Rate>>

/**
 * `@fastify/rate-limit`, counting in memory, in place of `rate-limit`: a fixed window per route, by its rate class. In memory,
 * its `groupId` does not combine routes. Its hook runs after those of the whole server, so it counts no request without a
 * route or refused by authentication.
 */
export default fp<RateLimitOptions>(
  async (app, classes) => {
    // Runs before the package's own hook, which reads what this one writes.
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

/** Allows as many requests as a full bucket holds, in the time that refills an empty one. */
function windowOf({ ratePerSecond, burst }: Rate) {
  return { max: burst, timeWindow: Math.ceil((burst / ratePerSecond) * 1000) }
}
