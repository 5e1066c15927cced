import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { certificateExpiry, recordingPeer } from '../lib/certificate-expiry.ts'
import { dependencyUp } from '../lib/metrics.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import type { Db } from '../lib/own-types.ts'
import { type PostgresTarget, postgresTarget } from '../lib/postgres.ts'
import type { Registry } from '../lib/registry.ts'
import type { DatabaseState, Finding } from './availability.ts'
import { loadDriver } from './load-driver.ts'
import { measurePool, queryObserver } from './metrics.ts'
import { DatabaseOptions } from './options.ts'
import type { PoolStats } from './port.ts'

export type { DatabaseState, Db, PoolStats }
export { DatabaseOptions }

export interface DatabaseDeps {
  registry?: Registry
  /** Drizzle's tables and relations, for `app.db.query`. */
  schema?: Record<string, unknown>
}

export interface Postgres {
  /**
   * For selects that change nothing, not even through a function they call, and that may run twice. Concurrent reads
   * share a connection; a read that waits behind a slow one also runs on another. In `app.db`, every statement runs
   * once, on a connection of its own.
   */
  readonly reads: Db
  /** Pings the database over a separate connection, so no query delays the answer. Rejects if none comes in time. */
  ping(timeoutMs: number): Promise<DatabaseState>
  /**
   * Calls `onNotify` for every NOTIFY on the channel. `onResync` is called whenever listening starts, also after a lost
   * connection; `onLost` when the connection is lost. Returns immediately, even if the database is down.
   * @returns a function that ends the subscription
   */
  listen(
    channel: string,
    onNotify: (payload: string) => void,
    onResync: () => void,
    onLost?: () => void
  ): Promise<() => Promise<void>>
  /**
   * Runs a text of several statements, which may contain whole transactions, over one pooled connection. The text takes
   * no parameters, so it must contain nothing that a client sent.
   * @returns the rows of all statements
   */
  script(text: string): Promise<unknown[]>
  /**
   * Checks that a URL with other credentials opens this same database.
   *
   * @throws Error that says why it does not
   */
  tryCredentials(url: string): Promise<void>
  /** Uses these credentials for all new connections, and retires the others without interrupting what they do. */
  useCredentials(url: string, directUrl: string): void
  /** Calls back when that happens, for those who keep connections of their own. @returns a function that ends it */
  onCredentials(callback: () => void): () => void
  readonly stats: PoolStats
}

declare module 'fastify' {
  interface FastifyInstance {
    db: Db
    postgres: Postgres
  }
}

const MESSAGES: Readonly<Record<Exclude<Finding, 'writable'>, string>> = {
  unreachable: 'database is not reachable',
  read_only: 'the database takes reads only',
  full: 'the database has no space left'
}

/** How long operations in flight may take when the app closes, in seconds. */
const END_TIMEOUT = 5

const database: FastifyPluginAsync<PluginInput<typeof DatabaseOptions, DatabaseDeps>> = async (app, input) => {
  const options = parseOptions('rhone-database', DatabaseOptions, input, ['registry', 'schema'])
  if (options.url === '')
    throw new Error('rhone-database: option "url" is required: the connection URL of a PostgreSQL')

  const { Availability, createDb, Listener, Pool, quickQueriesWork } = await loadDriver()
  const isQuick = options.quickQueries && (await quickQueriesWork())
  if (options.quickQueries && !isQuick)
    app.log.warn('this drizzle runs queries differently: they run its way, which is slower')
  const { applicationName, connectTimeout, statementTimeout } = options
  const recordExpiry = certificateExpiry(input.registry)
  const targetOf = (url: string): PostgresTarget => {
    const target = postgresTarget(url)
    const { ssl } = target
    if (typeof ssl !== 'object') return target
    return { ...target, ssl: recordingPeer(expiry => recordExpiry('database', expiry), ssl) }
  }
  const target = targetOf(options.url)
  const directTarget = targetOf(options.directUrl || options.url)
  const up = dependencyUp(input.registry)
  const conversions = { parsers: {}, serializers: {} }

  const availability = new Availability({
    target,
    applicationName,
    connectTimeout,
    onChange(finding, previous, reason) {
      up.set({ service: 'database' }, finding === 'writable' ? 1 : 0)
      if (finding === 'writable') app.log.info('the database takes reads and writes')
      else app.log.error({ err: reason }, MESSAGES[finding])
      if (previous === 'read_only') pool.renew()
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
    onOpen: isReadOnly => availability.reportOpened(isReadOnly),
    onFailure: (finding, reason) => availability.report(finding, reason),
    onLost: () => availability.watch(),
    onPooler: isPrepared => {
      app.log.warn({ isPrepared }, 'the database is reached through a pooler')
      if ((options.directUrl || options.url) === options.url)
        app.log.error('notifications do not pass a pooler: set the direct URL, too')
    }
  })

  measurePool(input.registry, pool)
  const { db, reads } = createDb(pool, conversions, queryObserver(input.registry), { tables: input.schema, isQuick })
  const renewals = new Set<() => void>()
  app.decorate('db', db)
  app.decorate('postgres', {
    reads,
    ping: timeoutMs => availability.ping(timeoutMs),
    listen: async (channel, onNotify, onResync, onLost) => listener.listen(channel, { onNotify, onResync, onLost }),
    script: async text => pool.run(connection => connection.script(text)),
    tryCredentials: url => tryCredentials(target, postgresTarget(url), connectTimeout),
    useCredentials(url, directUrl) {
      pool.retarget(postgresTarget(url))
      availability.retarget(postgresTarget(url))
      listener.retarget(postgresTarget(directUrl))
      for (const renew of renewals) renew()
    },
    onCredentials(callback) {
      renewals.add(callback)
      return () => renewals.delete(callback)
    },
    get stats() {
      return pool.stats
    }
  })
  app.addHook('onClose', async () => {
    await Promise.all([pool.end(END_TIMEOUT), listener.end(), availability.end()])
  })
  availability.watch()
}

/** A URL of another database would lose what is in use, so it takes a restart. */
async function tryCredentials(current: PostgresTarget, next: PostgresTarget, connectTimeout: number): Promise<void> {
  if (next.database !== current.database) throw new Error('names another database, which takes a restart')
  const { ask, openSession } = await import('../lib/postgres-session.ts')
  const session = openSession(next, { applicationName: 'rhone-check', connectTimeout, prepare: false })
  try {
    await ask(session, 'select 1', connectTimeout * 1_000)
  } finally {
    session.destroy()
  }
}

export default fp(database, { name: 'rhone-database', fastify: '5.x' })
