import type { ConnectionOptions } from 'node:tls'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyBaseLogger, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import type { Cluster, RedisOptions as DriverOptions, Redis } from 'ioredis'
import { certificateExpiry, recordingPeer } from '../lib/certificate-expiry.ts'
import { dependencyUp } from '../lib/metrics.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import { loadPackages } from '../lib/packages.ts'
import type { Registry } from '../lib/registry.ts'
import { credentialsOf } from './credentials.ts'
import { type RedisTarget, redisTarget } from './target.ts'

export const RedisOptions = Type.Object(
  {
    url: Type.String({
      default: '',
      description:
        'redis://user:password@host:port/0, rediss:// for TLS, several hosts for a cluster, redis+sentinel://; required.'
    }),
    commandTimeout: Type.Integer({
      default: 100,
      minimum: 1,
      description: 'Timeout of a command, in milliseconds.'
    }),
    connectTimeout: Type.Integer({ default: 500, minimum: 1, description: 'Timeout for connecting, in milliseconds.' }),
    socketTimeout: Type.Integer({
      default: 1_000,
      minimum: 1,
      description: 'Milliseconds without a reply after which a connection is closed. Commands then fail at once.'
    }),
    maxReconnectDelay: Type.Integer({
      default: 2_000,
      minimum: 1,
      description: 'The longest pause between connection attempts, in milliseconds.'
    }),
    connectionName: Type.String({ default: 'rhone', minLength: 1, description: 'The name shown by CLIENT LIST.' })
  },
  { additionalProperties: false }
)
export type RedisOptions = Static<typeof RedisOptions>

export interface RedisDeps {
  registry?: Registry
}

export type RedisClient = Redis | Cluster

export interface RedisCredentials {
  /**
   * Checks that a URL with another user or password opens this same Redis.
   *
   * @throws Error that says why it does not
   */
  check(url: string): Promise<void>
  /** Uses these credentials on open connections, which stay open, and on all later ones. */
  use(url: string): Promise<void>
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Commands answer or fail within milliseconds; without a connection, they fail immediately. */
    redis: RedisClient
    redisCredentials: RedisCredentials
  }
}

/**
 * A Redis connection that may fail at any time. No command waits for it to come back, and none is sent twice, so
 * callers can continue without Redis.
 */
const redis: FastifyPluginAsync<PluginInput<typeof RedisOptions, RedisDeps>> = async (app, input) => {
  const options = parseOptions('rhone-redis', RedisOptions, input, ['registry'])
  if (options.url === '') throw new Error('rhone-redis: option "url" is required: the URL of a Redis')

  const target = redisTarget(options.url)
  const driver = await loadPackages('rhone-redis', ['ioredis'], () => import('ioredis'))
  const recordExpiry = certificateExpiry(input.registry)
  const tls = recordingPeer(expiry => recordExpiry('redis', expiry), {})
  const client = createClient(driver, target, options, tls)
  const up = dependencyUp(input.registry)
  let isUp: boolean | undefined
  let reason: Error | undefined

  function report(nowUp: boolean): void {
    if (isUp === nowUp) return
    isUp = nowUp
    up.set({ service: 'redis' }, nowUp ? 1 : 0)
    if (nowUp) app.log.info('redis is reachable')
    else app.log.warn({ err: reason }, 'redis is not reachable, continuing without it')
  }

  client.on('error', (error: Error) => {
    reason = error
  })
  client.on('ready', () => report(true))
  client.once('ready', () => warnOfEviction(client, app.log))
  client.on('close', () => report(false))
  // A failure is also an event, and the driver keeps trying.
  client.connect().catch(() => {})

  app.decorate<RedisClient>('redis', client)
  app.decorate('redisCredentials', credentialsOf(driver, client, target, options))
  app.addHook('onClose', async () => {
    client.removeAllListeners('close')
    // Lets commands in flight finish, within the command timeout.
    if (client.status === 'ready') await client.quit().catch(() => client.disconnect())
    else client.disconnect()
  })
}

/** A server that evicts keys when it is full forgets limits, and with them who has exhausted theirs. */
async function warnOfEviction(client: RedisClient, log: FastifyBaseLogger): Promise<void> {
  try {
    const [, policy] = /^maxmemory_policy:(\S+)/m.exec(await client.info('memory')) ?? []
    if (policy !== undefined && policy !== 'noeviction')
      log.warn({ policy }, 'this Redis evicts keys when it is full: set its maxmemory-policy to noeviction')
  } catch (err) {
    // Some services do not answer INFO.
    log.debug({ err }, 'the eviction policy of this Redis is unknown')
  }
}

function createClient(
  { Redis, Cluster }: Pick<typeof import('ioredis'), 'Redis' | 'Cluster'>,
  target: RedisTarget,
  options: RedisOptions,
  tls: ConnectionOptions
): RedisClient {
  const common: DriverOptions = {
    commandTimeout: options.commandTimeout,
    connectTimeout: options.connectTimeout,
    socketTimeout: options.socketTimeout,
    connectionName: options.connectionName,
    keepAlive: 10_000,
    // Commands sent on a lost connection fail; whether they were executed is unknown.
    maxRetriesPerRequest: 0,
    // A demoted server keeps its connections, and would refuse writes on them forever.
    reconnectOnError: error => /^(READONLY|MASTERDOWN)\b/.test(error.message),
    autoResendUnfulfilledCommands: false,
    enableAutoPipelining: true,
    lazyConnect: true,
    ...(target.username !== undefined && { username: target.username }),
    ...(target.password !== undefined && { password: target.password })
  }
  const retryStrategy = (attempt: number) => reconnectDelay(attempt, options.maxReconnectDelay)
  const single: DriverOptions = { ...common, enableOfflineQueue: false, retryStrategy, db: target.db }
  const [node] = target.nodes as [RedisTarget['nodes'][number]]

  switch (target.kind) {
    case 'server':
      return new Redis({ ...single, ...node, ...(target.tls && { tls: { ...tls, servername: node.host } }) })
    case 'sentinel':
      return new Redis({
        ...single,
        sentinels: target.nodes,
        name: target.master,
        sentinelRetryStrategy: retryStrategy,
        sentinelCommandTimeout: options.connectTimeout,
        ...(target.tls && { tls, sentinelTLS: tls, enableTLSForSentinelMode: true })
      })
    case 'cluster':
      return new Cluster(target.nodes, {
        redisOptions: { ...common, ...(target.tls && { tls }) },
        enableOfflineQueue: false,
        enableAutoPipelining: true,
        lazyConnect: true,
        clusterRetryStrategy: retryStrategy,
        slotsRefreshTimeout: options.connectTimeout
      })
  }
}

function reconnectDelay(attempt: number, longest: number): number {
  return Math.min(longest, 50 * 2 ** Math.min(attempt, 10)) * (0.5 + Math.random() / 2)
}

export default fp(redis, { name: 'rhone-redis', fastify: '5.x' })
