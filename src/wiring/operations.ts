import type { FastifyInstance, FastifyRequest } from 'fastify'
import { prometheus } from '../../integrations/prometheus.ts'
import { panels } from '../../monitoring/panels.ts'
import { isTransient } from '../../plugins/lib/postgres.ts'
import { singleFlight } from '../../plugins/lib/single-flight.ts'
import { postgresMaintenanceStore } from '../../plugins/maintenance/store-postgres.ts'
import type { Config } from '../config/index.ts'
import { has, registryOf } from '../kernel/has.ts'
import { renderClosure } from './pages.ts'
import { contributed } from './parts/index.ts'
import { PING_TIMEOUT } from './parts/service-state.ts'
import type { Ports } from './ports.ts'
import { isTenant } from './tenants.ts'

/* Options of the plugins that let operators observe and control the server. */

export function metrics(config: Config, _app: FastifyInstance, { peers }: Ports) {
  return {
    latestTokens: () => config.metricsTokens,
    allowLoopback: !config.production,
    trusts: (request: FastifyRequest) => !isTenant(config, request),
    version: config.version,
    ...(peers && { peers })
  }
}

export function tracing({ telemetry: { otlpEndpoint, sampleRatio }, version, environment }: Config) {
  return { ...(otlpEndpoint !== null && { endpoint: otlpEndpoint }), ratio: sampleRatio, version, environment }
}

export function errorTracking({ telemetry: { sentryDsn }, version, environment }: Config, app: FastifyInstance) {
  return { ...registryOf(app), ...(sentryDsn !== null && { dsn: sentryDsn }), release: version, environment }
}

/**
 * Time in milliseconds for a busy keep-alive connection to get a reply that announces its close. Without it, the close
 * would hit requests already on their way.
 */
const LAST_WORD = 250

export function drain({ drainGrace }: Config) {
  return { grace: Math.max(drainGrace * 1000, LAST_WORD) }
}

export function startup(config: Config, app: FastifyInstance, ports: Ports) {
  const steps = () => contributed('startSteps', config, app, ports).map(({ name, run }) => [name, run] as const)
  return { retryable: isTransient, ...(has(app, 'db') && { steps: Object.fromEntries(steps()) }) }
}

export function maintenance(_config: Config, app: FastifyInstance) {
  return {
    ...registryOf(app),
    ...(has(app, 'db') && { store: postgresMaintenanceStore(app) }),
    page: renderClosure(app),
    title: 'Rhone - Maintenance',
    heading: 'Under Maintenance',
    sentences: [
      'Rhone is down for scheduled maintenance and will be back shortly.',
      'Your apps are still running and serving traffic.'
    ]
  }
}

/** Most of this is evaluated on a probe, when every plugin is registered. */
export function health(config: Config, app: FastifyInstance, ports: Ports) {
  const services = contributed('services', config, app, ports).map(({ name, check }) => [name, check] as const)
  return {
    ...registryOf(app),
    version: config.version,
    authorize: async (request: FastifyRequest) => (await app.auth?.identify(request))?.isOperator === true,
    readiness: {
      starting: () => app.startup?.done !== false,
      ...(has(app, 'db') && databaseReadiness(app)),
      keys: () => app.secretHolders?.isRefused !== true,
      pressure: () => app.pressure?.sustained !== true,
      draining: () => app.drain?.draining !== true
    },
    services: Object.fromEntries(services),
    ...(has(app, 'postgres') && app.postgres.copies && { role: () => app.postgres.copies!.role })
  }
}

/** Three reasons, one ping: concurrent probes share it. */
function databaseReadiness(app: FastifyInstance) {
  const ping = singleFlight(0, () => app.postgres.ping(PING_TIMEOUT).catch(() => 'unreachable' as const))
  return {
    // Beside a replica, reads can be served without a primary.
    database: async () => (await ping()) !== 'unreachable' || app.postgres.copies?.canRead === true,
    database_readonly: async () => (await ping()) !== 'read_only',
    database_full: async () => (await ping()) !== 'full'
  }
}

export function gauges(config: Config, app: FastifyInstance, ports: Ports) {
  return { ...registryOf(app), ...(has(app, 'db') && { readings: contributed('gauges', config, app, ports) }) }
}

/** Uses the dashboards' panels, so that the page and Grafana show the same. */
export function operations({ prometheusUrl }: Config, app: FastifyInstance) {
  return (
    has(app, 'metrics') && {
      scrape: () => app.metrics.scrape(),
      isReady: () => app.startup?.done !== false,
      panels,
      ...(prometheusUrl !== null && { history: prometheus({ ...registryOf(app), url: prometheusUrl }) })
    }
  )
}

export function chores(config: Config, app: FastifyInstance, ports: Ports) {
  return {
    ...registryOf(app),
    isReady: () => app.startup?.done !== false,
    ...(has(app, 'db') && { chores: contributed('chores', config, app, ports) })
  }
}
