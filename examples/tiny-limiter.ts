import fp from 'fastify-plugin'
import { errors } from '../plugins/lib/errors.ts'

/** At most 20 requests per second and address: all that a limiter has to be to take the place of ours. */
export default fp(
  async app => {
    const counts = new Map<string, number>()
    const timer = setInterval(() => counts.clear(), 1000).unref()
    app.addHook('onClose', async () => clearInterval(timer))
    app.addHook('onRequest', (request, _reply, next) => {
      const count = (counts.get(request.ip) ?? 0) + 1
      counts.set(request.ip, count)
      next(count > 20 ? errors.rateLimit(1) : undefined)
    })
  },
  { name: 'tiny-limiter', fastify: '5.x' }
)
