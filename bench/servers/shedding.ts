/** Takes the place of the pressure plugin, as `RHONE_SWAP` puts it there. Refuses at once, so that the pause is not measured. */
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import pressure from '../../plugins/pressure/index.ts'

const OVERLOADED = { eventLoopDelay: 200, eventLoopUtilization: 1, heapUsed: 0, rss: 0 }

export default fp(
  async (app: FastifyInstance, options: object) => {
    await app.register(pressure, { ...options, refusalDelay: 0, sensor: { sample: () => OVERLOADED } })
  },
  { name: 'rhone-pressure', fastify: '5.x' }
)
