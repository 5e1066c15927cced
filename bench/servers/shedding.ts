/** Replaces the pressure plugin through `RHONE_SWAP`. Refuses at once, so that the delay is not measured. */
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
