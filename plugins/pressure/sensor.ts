import type { FastifyInstance } from 'fastify'
import { loadPackages } from '../lib/packages.ts'
import type { PressureReading } from './gauge.ts'

/** The source of readings; by default `@fastify/under-pressure`. */
export interface PressureSensor {
  sample(): PressureReading
}

/** In milliseconds; a healthy loop's timers are not this late. */
const NOTABLY_LATE = 20

/** Registered without thresholds, it refuses nothing. Cumulative utilization would barely rise after idle hours. */
export async function processSensor(app: FastifyInstance, sampleInterval: number): Promise<PressureSensor> {
  const load = () => import('@fastify/under-pressure')
  const { default: underPressure } = await loadPackages('rhone-pressure', ['@fastify/under-pressure'], load)
  await app.register(underPressure, { sampleInterval, eventLoopUtilizationMode: 'interval' })
  let sampledAt = performance.now()
  return {
    sample() {
      const { eventLoopDelay, eventLoopUtilized, heapUsed, rssBytes } = app.memoryUsage()
      const elapsed = performance.now() - sampledAt
      sampledAt += elapsed
      return {
        eventLoopDelay: Number.isFinite(eventLoopDelay) ? eventLoopDelay : delayBehind(elapsed - sampleInterval),
        eventLoopUtilization: eventLoopUtilized,
        heapUsed,
        rss: rssBytes
      }
    }
  }

  /**
   * The histogram is empty if the loop has not turned twice since the last sample; then this sample was late as well.
   */
  function delayBehind(lateness: number): number {
    return lateness > NOTABLY_LATE ? sampleInterval + lateness : 0
  }
}
