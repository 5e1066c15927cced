import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { dependencyUp } from '../lib/metrics.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import type { Db } from '../lib/own-types.ts'
import { postgresTarget } from '../lib/postgres.ts'
import type { Registry } from '../lib/registry.ts'
import { loadDriver } from './load-driver.ts'
import { measurePool, queryObserver } from './metrics.ts'
import type { PoolStats } from './pool.ts'

export type { Db, PoolStats }

export const DatabaseOptions = Type.Object(
  {
    url: Type.String({
      default: '',
      description: 'postgres://user:password@host:port/database; required. `sslmode` and its kin mean what libpq says.'
    }),
    directUrl: Type.String({
      default: '',
      description: 'The same database past any transaction pooler, for LISTEN. Empty: `url`.'
    }),
    poolMax: Type.Integer({
      default: 10,
      minimum: 1,
      description: 'Connections for queries. Beside them an instance has one that listens and one for pings.'
    }),
    prepare: Type.Boolean({
      default: true,
      description: 'Use prepared statements. Off behind a transaction pooler that does not keep them.'
    }),
    queueTimeout: Type.Integer({
      default: 1_000,
      minimum: 1,
      description: 'Milliseconds that a query waits for a connection before it is refused with 503.'
    }),
    maxQueue: Type.Integer({
      default: 1_000,
      minimum: 0,
      description: 'Queries that may wait for a connection; the next one is refused with 503.'
    }),
    statementTimeout: Type.Integer({
      default: 5_000,
      minimum: 0,
      description: 'Milliseconds that a statement may take, kept by the server. 0: no limit.'
    }),
    lockTimeout: Type.Integer({
      default: 2_000,
      minimum: 0,
      description: 'Milliseconds that a statement may wait for a lock. 0: no limit.'
    }),
    idleInTransactionTimeout: Type.Integer({
      default: 10_000,
      minimum: 0,
      description: 'Milliseconds that a transaction may do nothing before the server ends it. 0: no limit.'
    }),
    connectTimeout: Type.Number({ default: 5, exclusiveMinimum: 0, description: 'Seconds to connect in.' }),
    idleTimeout: Type.Number({
      default: 60,
      exclusiveMinimum: 0,
      description: 'Seconds after which an unused connection is closed.'
    }),
    maxLifetime: Type.Number({
      default: 1_800,
      exclusiveMinimum: 0,
      description: 'Seconds after which a connection is replaced, the last fifth of them at random.'
    }),
    pipeline: Type.Integer({
      default: 8,
      minimum: 1,
      maximum: 16,
      description: 'Repeatable reads that may share one connection at a time; 1 gives each its own.'
    }),
    applicationName: Type.String({ default: 'rhone', minLength: 1, description: 'What pg_stat_activity shows.' })
  },
  { additionalProperties: false }
)
export type DatabaseOptions = Static<typeof DatabaseOptions>

export interface DatabaseDeps {
  registry?: Registry
  /** Drizzle's tables and relations, for `app.db.query`. */
  schema?: Record<string, unknown>
}

export interface Postgres {
  /**
   * For selects that change nothing, not even by a function that they call, and may run twice. Those of the same moment
   * share a connection, and one that waits there behind a slow one is run on another as well. In `app.db`, every statement
   * runs once, on a connection of its own.
   */
  readonly reads: Db
  /** Rejects when the database does not answer in time; waits behind no query. */
  ping(timeoutMs: number): Promise<void>
  /**
   * Calls `onNotify` for every NOTIFY on the channel while it is listened to, and `onResync` whenever listening begins,
   * again after a lost connection too, of which `onLost` tells. Resolves at once, though the database be down.
   * @returns ends the subscription
   */
  listen(
    channel: string,
    onNotify: (payload: string) => void,
    onResync: () => void,
    onLost?: () => void
  ): Promise<() => Promise<void>>
  /**
   * Runs a text of several statements, which may hold whole transactions, over one connection of the pool. It takes no
   * parameters, so nothing that a client sent may be part of it.
   * @returns the rows of all of them
   */
  script(text: string): Promise<unknown[]>
  readonly stats: PoolStats
}

declare module 'fastify' {
  interface FastifyInstance {
    db: Db
    postgres: Postgres
  }
}

/** What is under way gets this long to end when the app closes, in seconds. */
const END_TIMEOUT = 5

const database: FastifyPluginAsync<PluginInput<typeof DatabaseOptions, DatabaseDeps>> = async (app, input) => {
  const options = parseOptions('rhone-database', DatabaseOptions, input, ['registry', 'schema'])
  if (options.url === '')
    throw new Error('rhone-database: option "url" is required: the connection URL of a PostgreSQL')

  const { createDb, Listener, Pool, Reachability } = await loadDriver()
  const { applicationName, connectTimeout, statementTimeout } = options
  const target = postgresTarget(options.url)
  const directTarget = postgresTarget(options.directUrl || options.url)
  const up = dependencyUp(input.registry)
  const conversions = { parsers: {}, serializers: {} }

  const reachability = new Reachability({
    target,
    applicationName,
    connectTimeout,
    onChange(reachable, reason) {
      up.set({ service: 'database' }, reachable ? 1 : 0)
      if (reachable) app.log.info('database is reachable')
      else app.log.error({ err: reason }, 'database is not reachable')
    }
  })
  const listener = new Listener({
    target: directTarget,
    applicationName,
    connectTimeout,
    onCallbackError: (err, channel) => app.log.error({ err, channel }, 'a notification could not be handled')
  })
  const pool = new Pool({
    max: options.poolMax,
    queueTimeout: options.queueTimeout,
    maxQueue: options.maxQueue,
    idleTimeout: options.idleTimeout,
    maxLifetime: options.maxLifetime,
    pipeline: options.pipeline,
    connection: {
      target,
      applicationName,
      prepare: options.prepare,
      connectTimeout,
      statementTimeout,
      parameters: {
        statement_timeout: statementTimeout,
        lock_timeout: options.lockTimeout,
        idle_in_transaction_session_timeout: options.idleInTransactionTimeout
      },
      conversions
    },
    onReachable: () => reachability.report(true),
    onUnreachable: reason => reachability.report(false, reason),
    onLost: () => reachability.check()
  })

  measurePool(input.registry, pool)
  const { db, reads } = createDb(pool, conversions, queryObserver(input.registry), input.schema)
  app.decorate('db', db)
  app.decorate('postgres', {
    reads,
    ping: timeoutMs => reachability.ping(timeoutMs),
    listen: async (channel, onNotify, onResync, onLost) => listener.listen(channel, { onNotify, onResync, onLost }),
    script: async text => pool.run(connection => connection.script(text)),
    get stats() {
      return pool.stats
    }
  })
  app.addHook('onClose', async () => {
    await Promise.all([pool.end(END_TIMEOUT), listener.end(), reachability.end()])
  })
  reachability.check()
}

export default fp(database, { name: 'rhone-database', fastify: '5.x' })
