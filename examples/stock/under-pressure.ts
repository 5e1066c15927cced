import underPressure from '@fastify/under-pressure'
import fp from 'fastify-plugin'
import { errors } from '../../plugins/lib/errors.ts'

const THRESHOLDS = { maxEventLoopDelay: 1_000, maxEventLoopUtilization: 0.98 } as const

/** `@fastify/under-pressure`, which refuses by thresholds, in place of `pressure`. Always admits probes and operators. */
export function stockPressure(thresholds: underPressure.FastifyUnderPressureOptions = THRESHOLDS) {
  return fp(
    async app => {
      app.addHook('onRoute', route => {
        const { priority } = route.config ?? {}
        if (priority !== 'probe' && priority !== 'operator') return
        route.config = { ...route.config, pressureHandler: () => {} } as typeof route.config
      })
      await app.register(underPressure, {
        ...thresholds,
        pressureHandler: () => {
          throw errors.unavailable(10)
        }
      })
    },
    { name: 'stock-under-pressure', fastify: '5.x' }
  )
}

export default stockPressure()
