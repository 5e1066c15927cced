import type { FastifyInstance, FastifyPluginAsync, FastifyPluginCallback } from 'fastify'
import builder from '../integrations/builder/index.ts'
import deployer from '../integrations/deployer/index.ts'
import github from '../integrations/github/index.ts'
import accessTokens from '../plugins/access-tokens/index.ts'
import audit from '../plugins/audit/index.ts'
import auth from '../plugins/auth/index.ts'
import cache, { postgresCacheBus } from '../plugins/cache/index.ts'
import chores from '../plugins/chores.ts'
import clientIp from '../plugins/client-ip.ts'
import connections from '../plugins/connections/index.ts'
import cors from '../plugins/cors.ts'
import csrf from '../plugins/csrf.ts'
import database from '../plugins/database/index.ts'
import drain from '../plugins/drain.ts'
import errors from '../plugins/errors/index.ts'
import eventStreams from '../plugins/event-streams/index.ts'
import gauges from '../plugins/gauges.ts'
import health from '../plugins/health/index.ts'
import idempotency from '../plugins/idempotency.ts'
import jobs from '../plugins/jobs/index.ts'
import { LOOPBACK, proxyNetworks } from '../plugins/lib/address.ts'
import { isTransient } from '../plugins/lib/postgres.ts'
import logging from '../plugins/logging/index.ts'
import maintenance, { postgresMaintenanceStore } from '../plugins/maintenance/index.ts'
import metrics from '../plugins/metrics/index.ts'
import oauth from '../plugins/oauth/index.ts'
import openapi from '../plugins/openapi/index.ts'
import pressure from '../plugins/pressure/index.ts'
import rateLimit from '../plugins/rate-limit/index.ts'
import recentErrors from '../plugins/recent-errors.ts'
import redis from '../plugins/redis/index.ts'
import requestId from '../plugins/request-id.ts'
import securityHeaders from '../plugins/security-headers.ts'
import session from '../plugins/session/index.ts'
import startup from '../plugins/startup.ts'
import webhooks from '../plugins/webhooks/index.ts'
import writeBatching from '../plugins/write-batching.ts'
import routes from '../routes/index.ts'
import type { Config } from './config/index.ts'
import { createPasswords } from './domain/accounts/passwords.ts'
import { auditSink } from './domain/audit/events.ts'
import { SecretBox } from './domain/base/secret-box.ts'
import { createErrorJournal } from './domain/platform/error-events.ts'
import { platformReadings } from './domain/platform/gauges.ts'
import { choresOf } from './wiring/chores.ts'
import { builderOf, deployerOf, githubOf, webhooksOf } from './wiring/delivery.ts'
import { has, registryOf } from './wiring/has.ts'
import { healthOf } from './wiring/health-checks.ts'
import { accessTokensOf, authOf, csrfOf, oauthOf, sessionOf } from './wiring/identity.ts'
import type { Ports } from './wiring/ports.ts'
import { stepsOfStart } from './wiring/start-steps.ts'
import deploying from './workflows/deploying/index.ts'

export type PluginModule = FastifyPluginAsync<never> | FastifyPluginCallback<never>

/** One place of the server: the plugin that fills it, and what that plugin is given. */
export interface Slot {
  readonly name: string
  readonly plugin: PluginModule
  /** `false`: the plugin is not registered. `app` has what the slots before this one have brought. */
  readonly options: (config: Config, app: FastifyInstance, ports: Ports) => object | false
}

function slot<Options extends object>(
  name: string,
  plugin: FastifyPluginAsync<Options> | FastifyPluginCallback<Options>,
  options: (config: Config, app: FastifyInstance, ports: Ports) => NoInfer<Options> | false
): Slot {
  return { name, plugin, options }
}

/**
 * Milliseconds in which a client in steady use of its connection gets a reply that says it will close. Without them, the
 * close would meet requests that are already on their way.
 */
const LAST_WORD = 250

const poolLineOf = (app: FastifyInstance) => app.postgres?.stats.waiting ?? 0

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
  slot('metrics', metrics, ({ metricsToken, production, version }, _app, { peers }) => ({
    ...(metricsToken !== null && { token: metricsToken }),
    allowLoopback: !production,
    version,
    ...(peers && { peers })
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
  slot('write-batching', writeBatching, () => ({})),
  slot('client-ip', clientIp, ({ trustProxy }) => ({
    trustProxy: typeof trustProxy === 'string' ? trustProxy : [...trustProxy]
  })),
  slot('security-headers', securityHeaders, ({ production, baseUrl }) => ({
    hsts: production && baseUrl.protocol === 'https:'
  })),
  slot('cors', cors, ({ corsOrigins }) => ({ origins: [...corsOrigins] })),
  slot('drain', drain, ({ drainGrace }) => ({ grace: Math.max(drainGrace * 1000, LAST_WORD) })),
  slot('startup', startup, (config, app) => ({
    retryable: isTransient,
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
  slot('rate-limit', rateLimit, ({ rates }, app, { buckets }) => ({
    ...registryOf(app),
    ...rates,
    by: 'address' as const,
    shared: has(app, 'redis'),
    ...(buckets && { buckets })
  })),
  // After the limits by address, so that one client's flood fills no line; before all that asks the database.
  slot('pressure', pressure, (_config, app) => ({ ...registryOf(app), backlog: () => poolLineOf(app) })),
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
    ...(has(app, 'db') && { readings: platformReadings(() => app.db) })
  })),

  slot('session', session, sessionOf),
  slot('access-tokens', accessTokens, accessTokensOf),
  slot('auth', auth, authOf),
  slot('csrf', csrf, csrfOf),
  slot('oauth', oauth, oauthOf),
  slot('rate-limit-user', rateLimit, ({ rates }, app) => ({ ...registryOf(app), ...rates, by: 'principal' as const })),
  slot('idempotency', idempotency, () => ({})),
  slot('chores', chores, ({ keys }, app) => ({
    ...registryOf(app),
    isReady: () => app.startup?.done !== false,
    ...(has(app, 'db') && { chores: choresOf(app, keys.signing!) })
  })),
  slot('event-streams', eventStreams, (_config, app) => registryOf(app)),
  slot('builder', builder, builderOf),
  slot('deployer', deployer, deployerOf),
  slot('github', github, githubOf),
  slot('deploying', deploying, (config, app) => has(app, 'db') && { config }),
  slot('jobs', jobs, (_config, app) => ({
    ...registryOf(app),
    queues: has(app, 'deploying') ? app.deploying.queues : [],
    isPaused: () => app.maintenance?.state.enabled === true
  })),
  slot('webhooks', webhooks, webhooksOf),
  slot('routes', routes, ({ baseUrl, keys, localAccounts, defaultPlan, builder, deployer, registry }, app) => ({
    secretBox: new SecretBox(keys.encryption!),
    passwords: localAccounts ? createPasswords([baseUrl.hostname]) : null,
    defaultPlan,
    allowLocalGit: deployer === 'local',
    urlOf: found => (has(app, 'deployer') ? app.deployer.urlOf(found) : null),
    ledger: has(app, 'deploying') ? app.deploying.ledger : null,
    takesImages: builder !== 'local',
    registry: registry.host
  }))
]
