import type { FastifyInstance } from 'fastify'
import { LOOPBACK, proxyNetworks } from '../../plugins/lib/address.ts'
import type { Config } from '../config/index.ts'
import { has, registryOf } from '../kernel/has.ts'
import { renderError } from './pages.ts'
import { contributed } from './parts/index.ts'
import type { Ports } from './ports.ts'

/* Options of the plugins that apply to every request. */

export function errors(config: Config, app: FastifyInstance, ports: Ports) {
  return { sinks: contributed('errorSinks', config, app, ports), page: renderError(app) }
}

export function openapi({ version, baseUrl }: Config) {
  return { version, baseUrl: baseUrl.origin, authentication: AUTHENTICATION }
}

const AUTHENTICATION = `Send a token with every request: \`Authorization: Bearer rhone_...\`. In the examples it is in \`$TOKEN\`.

The first start writes the token of the first operator to \`operator-token\` under \`DATA_DIR\` (\`.rhone\` by default). With
it, or signed in, create your own tokens: \`rhone token create ci --scope deploy\`, or \`POST /api/v1/me/tokens\`. A token
is shown once. \`POST /api/v1/auth/token\` exchanges it for one that expires after 15 minutes.

Browsers sign in at \`/login\` and send a session cookie instead.`

export function connections({ maxConnections, trustProxy, shortcuts }: Config, app: FastifyInstance) {
  return {
    ...registryOf(app),
    max: maxConnections,
    exempt: [...LOOPBACK, ...proxyNetworks(trustProxy)],
    readSockets: shortcuts.has('sockets')
  }
}

export function writeBatching({ shortcuts }: Config) {
  return shortcuts.has('batching') && {}
}

export function clientIp({ trustProxy }: Config) {
  return { trustProxy: typeof trustProxy === 'string' ? trustProxy : [...trustProxy] }
}

/** Targets of our pages' forms: sign-in and payment. */
const FORM_TARGETS = ['https://github.com', 'https://checkout.stripe.com', 'https://billing.stripe.com']

export function securityHeaders({ production, baseUrl, hstsPreload }: Config) {
  const hsts = production && baseUrl.protocol === 'https:'
  return {
    hsts,
    hstsPreload: hsts && hstsPreload,
    formTargets: FORM_TARGETS,
    trustedTypes: ['htmx', 'rhone']
  }
}

/**
 * Cookies ignore ports: an app at localhost:3000 would get the session of localhost:8080. Apps have names below
 * localhost, so Rhone's own pages use the IP address.
 */
export function canonicalHost({ deployer, host, baseUrl }: Config) {
  const isReached = host === '127.0.0.1' || host === '0.0.0.0'
  const sharesName = deployer === 'local' && baseUrl.protocol === 'http:' && baseUrl.hostname === 'localhost'
  return isReached && sharesName && { host: '127.0.0.1', aliases: ['localhost'] }
}

export function cors({ corsOrigins, corsMaxAge }: Config) {
  return { origins: [...corsOrigins], maxAge: corsMaxAge }
}

export function rateLimit({ rates }: Config, app: FastifyInstance, { buckets }: Ports) {
  return {
    ...registryOf(app),
    ...rates,
    by: 'address' as const,
    shared: has(app, 'redis'),
    ...(buckets && { buckets })
  }
}

export function rateLimitUser({ rates }: Config, app: FastifyInstance) {
  return { ...registryOf(app), ...rates, by: 'principal' as const }
}

export function pressure({ memoryLimit }: Config, app: FastifyInstance) {
  return { ...registryOf(app), memoryLimit, backlog: () => app.postgres?.stats.waiting ?? 0 }
}
