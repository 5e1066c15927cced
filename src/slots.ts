import type { FastifyInstance, FastifyPluginAsync, FastifyPluginCallback, FastifyRequest } from 'fastify'
import { migrate } from '../drizzle/migrate.ts'
import audit from '../plugins/audit/index.ts'
import auth from '../plugins/auth/index.ts'
import cache, { postgresCacheBus } from '../plugins/cache/index.ts'
import clientIp from '../plugins/client-ip.ts'
import connections from '../plugins/connections/index.ts'
import cors from '../plugins/cors.ts'
import database from '../plugins/database/index.ts'
import drain from '../plugins/drain.ts'
import errors from '../plugins/errors/index.ts'
import gauges from '../plugins/gauges.ts'
import health from '../plugins/health/index.ts'
import idempotency from '../plugins/idempotency.ts'
import { LOOPBACK, proxyNetworks } from '../plugins/lib/address.ts'
import { AppError } from '../plugins/lib/errors.ts'
import { isUnreachable } from '../plugins/lib/postgres.ts'
import logging from '../plugins/logging/index.ts'
import maintenance, { postgresMaintenanceStore } from '../plugins/maintenance/index.ts'
import metrics from '../plugins/metrics/index.ts'
import openapi from '../plugins/openapi/index.ts'
import pressure from '../plugins/pressure/index.ts'
import rateLimit from '../plugins/rate-limit/index.ts'
import recentErrors from '../plugins/recent-errors.ts'
import redis from '../plugins/redis/index.ts'
import requestId from '../plugins/request-id.ts'
import securityHeaders from '../plugins/security-headers.ts'
import startup from '../plugins/startup.ts'
import routes from '../routes/index.ts'
import type { Config } from './config.ts'
import { auditSink } from './domain/audit.ts'
import { createErrorJournal } from './domain/error-events.ts'
import { countActiveApps, countActiveTeams } from './domain/gauges.ts'
import { SecretBox } from './domain/secret-box.ts'
import { AUTH_CHANNEL, tokenVerifier, touchTokens } from './domain/tokens.ts'
import { ensureFirstOperator } from './first-operator.ts'

export type PluginModule = FastifyPluginAsync<never> | FastifyPluginCallback<never>

/** One place of the server: the plugin that fills it, and what that plugin is given. */
export interface Slot {
  readonly name: string
  readonly plugin: PluginModule
  /** `false`: the plugin is not registered. `app` has what the slots before this one have brought. */
  readonly options: (config: Config, app: FastifyInstance) => object | false
}

function slot<Options extends object>(
  name: string,
  plugin: FastifyPluginAsync<Options> | FastifyPluginCallback<Options>,
  options: (config: Config, app: FastifyInstance) => NoInfer<Options> | false
): Slot {
  return { name, plugin, options }
}

/**
 * Milliseconds in which a client in steady use of its connection gets a reply that says it will close. Without them, the
 * close would meet requests that are already on their way.
 */
const LAST_WORD = 250
/** Milliseconds for the database to answer a probe in. */
const PING_TIMEOUT = 2_000

const has = (app: FastifyInstance, decorator: string) => app.hasDecorator(decorator)
const registryOf = (app: FastifyInstance) => (has(app, 'metrics') ? { registry: app.metrics.registry } : {})

/**
 * The whole server. Those that have hooks stand outermost first: nothing may fail unformatted or unseen, so errors and
 * logs come before all; metrics count what the next ones refuse; refusals come before anything that does I/O, and the
 * cheapest first.
 *
 * The others have no part in requests. The description of the API stands before all that bring routes, which it could
 * not see otherwise; what is connected to stands before all that use it, since plugins close in reverse.
 */
export const slots: readonly Slot[] = [
  slot('request-id', requestId, () => ({})),
  slot('errors', errors, (_config, app) => ({ sink: failure => app.recentErrors?.note(failure) })),
  slot('logging', logging, () => ({})),
  slot('openapi', openapi, ({ version, baseUrl }) => ({ version, baseUrl: baseUrl.origin })),
  slot('metrics', metrics, ({ metricsToken, production, version }) => ({
    ...(metricsToken !== null && { token: metricsToken }),
    allowLoopback: !production,
    version
  })),
  slot('database', database, ({ database: { url, directUrl, poolMax } }, app) => {
    if (url === null) return false
    return { ...registryOf(app), url, ...(directUrl !== null && { directUrl }), poolMax }
  }),
  slot('redis', redis, ({ redisUrl }, app) => redisUrl !== null && { ...registryOf(app), url: redisUrl }),

  slot('connections', connections, ({ maxConnections, trustProxy }, app) => ({
    ...registryOf(app),
    max: maxConnections,
    exempt: [...LOOPBACK, ...proxyNetworks(trustProxy)]
  })),
  slot('client-ip', clientIp, ({ trustProxy }) => ({
    trustProxy: typeof trustProxy === 'string' ? trustProxy : [...trustProxy]
  })),
  slot('security-headers', securityHeaders, ({ production, baseUrl }) => ({
    hsts: production && baseUrl.protocol === 'https:'
  })),
  slot('cors', cors, ({ corsOrigins }) => ({ origins: [...corsOrigins] })),
  slot('drain', drain, ({ drainGrace }) => ({ grace: Math.max(drainGrace * 1000, LAST_WORD) })),
  slot('pressure', pressure, (_config, app) => registryOf(app)),
  slot('startup', startup, (config, app) => ({
    retryable: error => isUnreachable(error) || (error instanceof AppError && error.statusCode === 503),
    ...(has(app, 'db') && { steps: stepsOfStart(config, app) })
  })),
  slot('audit', audit, (_config, app) => ({
    ...registryOf(app),
    ...(has(app, 'db') && { sink: auditSink(() => app.db) })
  })),
  slot('maintenance', maintenance, (_config, app) => ({
    ...registryOf(app),
    ...(has(app, 'db') && { store: postgresMaintenanceStore(app) })
  })),
  slot('rate-limit', rateLimit, ({ rates }, app) => ({
    ...registryOf(app),
    ...rates,
    by: 'address' as const,
    shared: has(app, 'redis')
  })),
  slot('health', health, ({ version }, app) => ({ ...registryOf(app), version, ...healthOf(app) })),

  slot('cache', cache, (_config, app) => ({
    ...registryOf(app),
    ...(has(app, 'db') && { bus: postgresCacheBus(app) })
  })),
  slot('recent-errors', recentErrors, (_config, app) =>
    has(app, 'db') ? { journal: createErrorJournal(app.db) } : {}
  ),
  slot('gauges', gauges, (_config, app) => ({
    ...registryOf(app),
    ...(has(app, 'db') && { readings: platformReadings(app) })
  })),

  slot('auth', auth, (_config, app) => ({
    ...registryOf(app),
    requireAccess: true,
    ...(has(app, 'db') && {
      verifier: tokenVerifier(() => app.db),
      touch: ids => touchTokens(app.db, ids),
      news: (onChange, onGap) => app.postgres.listen(AUTH_CHANNEL, onChange, onGap)
    })
  })),
  slot('rate-limit-user', rateLimit, ({ rates }, app) => ({ ...registryOf(app), ...rates, by: 'principal' as const })),
  slot('idempotency', idempotency, () => ({})),
  slot('routes', routes, ({ keys }) => ({ secretBox: new SecretBox(keys.encryption!) }))
]

function stepsOfStart({ database, dataDir }: Config, app: FastifyInstance) {
  return {
    migrations: () => migrate({ url: database.directUrl!, log: app.log }),
    operator: () => ensureFirstOperator(app.db, dataDir),
    maintenance: async () => app.maintenance?.refresh()
  }
}

function platformReadings(app: FastifyInstance) {
  const help = (what: string) => `${what} on the platform; the same from every instance.`
  return [
    { name: 'rhone_active_apps', help: help('Apps'), read: () => countActiveApps(app.db) },
    { name: 'rhone_active_teams', help: help('Teams'), read: () => countActiveTeams(app.db) }
  ]
}

/** Most of it is asked for when a probe comes, by which time every plugin is there. */
function healthOf(app: FastifyInstance) {
  const databaseAnswers = () => succeeds(app.postgres.ping(PING_TIMEOUT))
  const state = (isUp: boolean) => (isUp ? 'healthy' : 'unhealthy')
  const absent = () => 'not_configured' as const
  return {
    isOperator: async (request: FastifyRequest) => (await app.auth?.identify(request))?.isOperator === true,
    readiness: {
      starting: () => app.startup?.done !== false,
      ...(has(app, 'db') && { database: databaseAnswers }),
      pressure: () => app.pressure?.sustained !== true,
      draining: () => app.drain?.draining !== true
    },
    services: {
      database: has(app, 'db') ? async () => state(await databaseAnswers()) : absent,
      redis: has(app, 'redis') ? async () => state(await succeeds(app.redis.ping())) : absent,
      fly: absent,
      stripe: absent,
      github: absent
    }
  } as const
}

function succeeds(call: Promise<unknown>): Promise<boolean> {
  return call.then(
    () => true,
    () => false
  )
}
