import { type Static, Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyPluginAsync, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { addressKey } from '../lib/address.ts'
import { onEntry } from '../lib/entry.ts'
import { tallies } from '../lib/metrics.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import type { Registry } from '../lib/registry.ts'
import { routeConfig, useRouteConfig } from '../lib/route-config.ts'
import { createLimiter, RATE_CLASSES, type RateClass, type RateLimiter } from './limiter.ts'
import type { Rate } from './rate.ts'
import { addRefund } from './refund.ts'
import { driveByStock } from './stock.ts'
import type { LocalStore, RateLimitStore } from './store.ts'
import { MemoryStore } from './store-memory.ts'
import { type RedisScripts, RedisStore } from './store-redis.ts'
import { type SharedBuckets, SharedStore } from './store-shared.ts'
import { TieredStore } from './store-tiered.ts'

const bucket = {
  ratePerSecond: Type.Number({ exclusiveMinimum: 0, description: 'Sustained requests per second.' }),
  burst: Type.Integer({ minimum: 1, description: 'Burst: requests allowed at once after a pause.' })
}
const rate = (ratePerSecond: number, burst: number, description: string) =>
  Type.Object(bucket, { default: { ratePerSecond, burst }, description, additionalProperties: false })

export const RateLimitOptions = Type.Object(
  {
    by: Type.Union([Type.Literal('address'), Type.Literal('principal')], {
      default: 'address',
      description:
        'What this registration counts per. "address": every request, in the class of its route; register it before ' +
        'anything that does I/O. "principal": requests with a known user, in the class "user"; register it once more, ' +
        'after authentication. The first registration creates the limiter that both share, with its options.'
    }),
    general: rate(100, 200, 'Routes without another class, and requests without a route.'),
    auth: rate(5, 10, 'Sign-in and sign-out.'),
    deploy: rate(10 / 60, 5, 'Deployments.'),
    webhook: rate(100, 500, 'Deliveries from other services; these do not count as general requests.'),
    strict: rate(
      0.1,
      5,
      'Rare and sensitive operations: token mint, account deletion, invitations, operator switches.'
    ),
    user: rate(100, 200, 'All requests of one user, on all routes and from any address.'),
    classes: Type.Record(
      Type.String({ pattern: '^[a-z][a-z0-9-]{0,31}$' }),
      Type.Object(bucket, { additionalProperties: false }),
      {
        default: {},
        additionalProperties: false,
        description: 'Your own classes by name, in addition to these; declare their names in `RhoneTypes.rateClass`.'
      }
    ),
    maxKeys: Type.Integer({
      default: 100_000,
      minimum: 1,
      description: 'Maximum number of buckets in memory per class. While all are in use, new keys share one bucket.'
    }),
    shared: Type.Boolean({
      default: false,
      description: 'Count in Redis, shared by all instances, through `app.redis` or the client in the deps.'
    }),
    redisTimeout: Type.Integer({
      default: 10,
      minimum: 1,
      description: 'Milliseconds for which a request waits for Redis before this instance decides alone.'
    }),
    redisPrefix: Type.String({ default: 'rhone:rate-limit:', description: 'Prefix of the keys in Redis.' })
  },
  { additionalProperties: false }
)
export type RateLimitOptions = Static<typeof RateLimitOptions>

export interface RateLimitDeps {
  registry?: Registry
  /** A store other than memory or Redis. */
  store?: RateLimitStore
  /** Memory shared with other threads, instead of private memory; it already determines `maxKeys`. */
  buckets?: SharedBuckets
  /** The Redis client to count with, instead of `app.redis`; implies `shared`. */
  redis?: RedisScripts
  /** Identifies the caller, once known; by default `request.principal.userId`. */
  principal?: (request: FastifyRequest) => string | undefined
}

export type { Verdict } from './gcra.ts'
export type { RateLimiter } from './limiter.ts'
export { parseRate, type Rate } from './rate.ts'
export { createSharedBuckets, releaseSharedBuckets, type SharedBuckets } from './store-shared.ts'
export type { RateLimitStore, RedisScripts }

declare module 'fastify' {
  interface FastifyInstance {
    /** Not `rateLimit`: `@fastify/rate-limit` declares that name. */
    rateLimiter: RateLimiter
  }
  interface FastifyContextConfig {
    /** The quota for requests of this route, shared with all others of the class; default general. */
    rateClass?: Exclude<RateClass, 'user'> | false
    /** `later`: the handler counts the request once it knows the key; see `rateLimiter.step`. */
    rateCount?: 'later'
    /** Reply statuses for which the request gets its token back, because it had no effect. */
    rateRefund?: readonly number[]
  }
}

const DEPS = ['registry', 'store', 'buckets', 'redis', 'principal'] as const

const rateLimit: FastifyPluginAsync<PluginInput<typeof RateLimitOptions, RateLimitDeps>> = async (app, input) => {
  const options = parseOptions('rhone-rate-limit', RateLimitOptions, input, DEPS)
  useRouteConfig(app)
  if (!app.hasDecorator('rateLimiter')) app.decorate('rateLimiter', await rateLimiterOf(app, options, input))

  if (options.by === 'principal') {
    const classOf = (request: FastifyRequest) => routeConfig(request).rateClass !== false && 'user'
    onEntry(app, app.rateLimiter.step(classOf, input.principal ?? principalOf))
    return
  }
  const keyOf = addressKey(app)
  app.addHook('onRoute', route => {
    const { method, url, config: { rateClass = 'general' } = {} } = route
    if (rateClass === false) return
    if (!app.rateLimiter.classes.includes(rateClass)) {
      const known = app.rateLimiter.classes.join(', ')
      throw new Error(`rhone-rate-limit: ${method} ${url}: unknown rate class "${rateClass}"; the classes are ${known}`)
    }
    addRefund(route, rateClass, app.rateLimiter, keyOf)
  })
  onEntry(app, app.rateLimiter.step(addressClassOf, keyOf))
}

async function rateLimiterOf(app: FastifyInstance, options: RateLimitOptions, deps: RateLimitDeps) {
  const rates = ratesOf(options)
  const memory = deps.buckets ? new SharedStore(deps.buckets, Object.keys(rates)) : new MemoryStore(options.maxKeys)
  const remote = remoteStore(app, options, deps, memory)
  return createLimiter({
    rates,
    memory,
    createCheck: remote && (await driveByStock(app, remote)),
    refund: (...bucket) => (remote ? remote().refund?.(...bucket) : memory.refund(...bucket)),
    refusals: tallies(deps.registry, {
      name: 'rhone_rate_limited_total',
      help: 'Requests refused by a rate limit.',
      labelNames: ['class']
    })
  })
}

/** By class: the plugin's, then the app's. */
function ratesOf({ classes, ...options }: RateLimitOptions): Record<string, Rate> {
  for (const name of RATE_CLASSES)
    if (name in classes) throw new Error(`rhone-rate-limit: option "classes": "${name}" is a built-in class`)
  return { ...Object.fromEntries(RATE_CLASSES.map(name => [name, options[name]])), ...classes }
}

/** The store that replaces the memory, if any. `app.redis` is set after this plugin but before any request. */
function remoteStore(
  app: FastifyInstance,
  options: RateLimitOptions,
  deps: RateLimitDeps,
  memory: LocalStore
): (() => RateLimitStore) | undefined {
  const { store, redis } = deps
  if (store !== undefined) return () => store
  if (!options.shared && redis === undefined) return undefined

  let tiered: TieredStore
  app.addHook('onReady', done => {
    tiered = new TieredStore({
      shared: new RedisStore(redis ?? redisOf(app), options.redisPrefix),
      local: memory,
      timeout: options.redisTimeout,
      log: app.log
    })
    done()
  })
  app.addHook('onClose', (_, done) => {
    tiered?.close()
    done()
  })
  return () => tiered
}

function redisOf(app: FastifyInstance): RedisScripts {
  if (app.hasDecorator('redis')) return app.getDecorator<RedisScripts>('redis')
  throw new Error('rhone-rate-limit: option "shared" needs Redis: register a plugin that decorates app.redis')
}

function addressClassOf(request: FastifyRequest): RateClass | false {
  const { rateClass = 'general', rateCount } = routeConfig(request)
  return rateCount === undefined && rateClass
}

/** Undefined for an anonymous request, and when nothing identifies callers. */
function principalOf(request: FastifyRequest): string | undefined {
  return request.principal?.userId
}

export default fp(rateLimit, { name: 'rhone-rate-limit', fastify: '5.x' })
