import type { FastifyInstance } from 'fastify'
import type { AppMetrics, Deployer } from '../../integrations/deployer/port.ts'
import { errors } from '../../plugins/lib/errors.ts'
import { findRunningApp } from '../../src/domain/apps/metrics.ts'
import { cached } from './cached.ts'

/** In milliseconds. */
const METRICS_TIMEOUT = 5_000

const NOTHING: AppMetrics = {
  cpuPercent: 0,
  memory: { usedMb: 0, totalMb: 0, usedPercent: 0 },
  network: { bytesInPerSec: 0, bytesOutPerSec: 0 },
  requests: { total: 0, perSec: 0, avgLatencyMs: 0, errorRate: 0 },
  instances: []
}

const made = new WeakMap<FastifyInstance['db'], (appId: string) => Promise<AppMetrics>>()

/** An app's metrics from its machines, by app id; cached briefly, for the API and pages together. */
export function appMetrics(app: FastifyInstance): (appId: string) => Promise<AppMetrics> {
  const known = made.get(app.db)
  if (known !== undefined) return known
  const metricsOf = cached(app, 'app-metrics', readMetrics)
  made.set(app.db, metricsOf)
  return metricsOf

  async function readMetrics(appId: string): Promise<AppMetrics> {
    if (!app.hasDecorator('deployer')) throw errors.notConfigured('Deploying')
    const running = await findRunningApp(app.db, appId)
    if (running === undefined) return NOTHING
    try {
      const deployer = app.getDecorator<Deployer>('deployer')
      return await deployer.metrics(running, AbortSignal.timeout(METRICS_TIMEOUT))
    } catch (error) {
      throw errors.unavailable(5, 'The metrics of this app are not available at the moment', error)
    }
  }
}
