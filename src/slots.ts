import type { FastifyInstance, FastifyPluginAsync, FastifyPluginCallback } from 'fastify'
import builder from '../integrations/builder/index.ts'
import deployer from '../integrations/deployer/index.ts'
import github from '../integrations/github/index.ts'
import storage from '../integrations/storage/index.ts'
import accessTokens from '../plugins/access-tokens/index.ts'
import assets from '../plugins/assets.ts'
import audit from '../plugins/audit/index.ts'
import auth from '../plugins/auth/index.ts'
import cache from '../plugins/cache/index.ts'
import canonicalHost from '../plugins/canonical-host.ts'
import chores from '../plugins/chores.ts'
import clientIp from '../plugins/client-ip.ts'
import connections from '../plugins/connections/index.ts'
import cors from '../plugins/cors.ts'
import csrf from '../plugins/csrf.ts'
import database from '../plugins/database/index.ts'
import drain from '../plugins/drain.ts'
import errorTracking from '../plugins/error-tracking/index.ts'
import errors from '../plugins/errors/index.ts'
import eventStreams from '../plugins/event-streams/index.ts'
import gauges from '../plugins/gauges.ts'
import health from '../plugins/health/index.ts'
import idempotency from '../plugins/idempotency/index.ts'
import jobs from '../plugins/jobs/index.ts'
import logging from '../plugins/logging/index.ts'
import maintenance from '../plugins/maintenance/index.ts'
import metrics from '../plugins/metrics/index.ts'
import oauth from '../plugins/oauth/index.ts'
import objectives from '../plugins/objectives.ts'
import openapi from '../plugins/openapi/index.ts'
import operationsPlugin from '../plugins/operations/index.ts'
import pressure from '../plugins/pressure/index.ts'
import rateLimit from '../plugins/rate-limit/index.ts'
import recentErrors from '../plugins/recent-errors.ts'
import redis from '../plugins/redis/index.ts'
import regions from '../plugins/regions/index.ts'
import requestId from '../plugins/request-id.ts'
import secrets from '../plugins/secrets.ts'
import securityHeaders from '../plugins/security-headers.ts'
import session from '../plugins/session/index.ts'
import startup from '../plugins/startup.ts'
import status from '../plugins/status/index.ts'
import tracing from '../plugins/tracing/index.ts'
import uploads from '../plugins/uploads.ts'
import webhooks from '../plugins/webhooks/index.ts'
import writeBatching from '../plugins/write-batching.ts'
import routes from '../routes/index.ts'
import type { Config } from './config/index.ts'
import { registryOf } from './kernel/has.ts'
import * as data from './wiring/data.ts'
import * as delivery from './wiring/delivery.ts'
import * as http from './wiring/http.ts'
import * as identity from './wiring/identity.ts'
import * as operations from './wiring/operations.ts'
import * as pages from './wiring/pages.ts'
import type { Ports } from './wiring/ports.ts'
import { routes as routeOptions } from './wiring/routes.ts'
import { status as statusOptions } from './wiring/status.ts'
import archive from './workflows/archive/index.ts'
import backups from './workflows/backups/index.ts'
import deploying from './workflows/deploying/index.ts'
import secretHolders from './workflows/secrets/index.ts'

export type PluginModule = FastifyPluginAsync<never> | FastifyPluginCallback<never>

/** One place in the server: the plugin that fills it, and that plugin's options. */
export interface Slot {
  readonly name: string
  readonly plugin: PluginModule
  /** `false`: the plugin is not registered. `app` has everything that earlier slots have registered. */
  readonly options: (config: Config, app: FastifyInstance, ports: Ports) => object | false
}

function slot<Options extends object>(
  name: string,
  plugin: FastifyPluginAsync<Options> | FastifyPluginCallback<Options>,
  options: (config: Config, app: FastifyInstance, ports: Ports) => NoInfer<Options> | false
): Slot {
  return { name, plugin, options }
}

const none = () => ({})
const metered = (_config: Config, app: FastifyInstance) => registryOf(app)

/**
 * The whole server. Plugins with hooks come first, outermost first: errors and logs precede everything, so that no
 * failure goes unformatted or unseen; metrics precede the refusals they count; refusals precede anything that does I/O,
 * cheapest first.
 *
 * The others take no part in requests. The API description precedes all plugins with routes, since it cannot see
 * earlier ones; connections precede everything that uses them, since plugins close in reverse order.
 */
export const slots: readonly Slot[] = [
  slot('request-id', requestId, none),
  slot('errors', errors, http.errors),
  slot('tracing', tracing, operations.tracing),
  slot('logging', logging, none),
  slot('openapi', openapi, http.openapi),
  slot('metrics', metrics, operations.metrics),
  slot('objectives', objectives, metered),
  slot('error-tracking', errorTracking, operations.errorTracking),
  slot('database', database, data.database),
  slot('redis', redis, data.redis),
  slot('secrets', secrets, data.secrets),

  slot('connections', connections, http.connections),
  slot('write-batching', writeBatching, http.writeBatching),
  slot('client-ip', clientIp, http.clientIp),
  slot('security-headers', securityHeaders, http.securityHeaders),
  slot('canonical-host', canonicalHost, http.canonicalHost),
  slot('cors', cors, http.cors),
  slot('drain', drain, operations.drain),
  slot('startup', startup, operations.startup),
  slot('audit', audit, data.audit),
  slot('maintenance', maintenance, operations.maintenance),
  slot('rate-limit', rateLimit, http.rateLimit),
  // A change that runs in another region takes no place in the queue here.
  slot('regions', regions, data.regions),
  // After the per-address limits, so that one client's flood fills no queue; before anything that queries the
  // database.
  slot('pressure', pressure, http.pressure),
  slot('health', health, operations.health),
  slot('assets', assets, pages.assets),

  slot('cache', cache, data.cache),
  slot('recent-errors', recentErrors, data.recentErrors),
  slot('storage', storage, data.storage),
  slot('backups', backups, data.backups),
  slot('archive', archive, data.archive),
  slot('gauges', gauges, operations.gauges),
  slot('operations', operationsPlugin, operations.operations),
  slot('status', status, statusOptions),

  slot('session', session, identity.session),
  slot('access-tokens', accessTokens, identity.accessTokens),
  slot('auth', auth, identity.auth),
  slot('csrf', csrf, identity.csrf),
  slot('oauth', oauth, identity.oauth),
  slot('rate-limit-user', rateLimit, http.rateLimitUser),
  slot('idempotency', idempotency, identity.idempotency),
  slot('secret-holders', secretHolders, data.secretHolders),
  slot('chores', chores, operations.chores),
  slot('event-streams', eventStreams, metered),
  slot('uploads', uploads, none),
  slot('builder', builder, delivery.builder),
  slot('deployer', deployer, delivery.deployer),
  slot('github', github, delivery.github),
  slot('deploying', deploying, delivery.deploying),
  slot('jobs', jobs, delivery.jobs),
  slot('webhooks', webhooks, delivery.webhooks),
  slot('routes', routes, routeOptions)
]
