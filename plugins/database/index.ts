import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { certificateExpiry, recordingPeer } from '../lib/certificate-expiry.ts'
import { dependencyUp } from '../lib/metrics.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import type { Db } from '../lib/own-types.ts'
import { addressOf, hostUrls, isUnreachable, type PostgresTarget, postgresTarget } from '../lib/postgres.ts'
import type { Registry } from '../lib/registry.ts'
import type { DatabaseState, Finding } from './availability.ts'
import { type Copies, copiesOf } from './copies.ts'
import type { TimelineFence } from './hosts.ts'
import { loadDriver, loadHosts } from './load-driver.ts'
import { measureHosts, measurePool, queryObserver, readObserver } from './metrics.ts'
import { DatabaseOptions } from './options.ts'
import type { PoolStats } from './port.ts'

export type { Copies, DatabaseState, Db, PoolStats, TimelineFence }
export { DatabaseOptions }

export interface DatabaseDeps {
  registry?: Registry
  /** Drizzle's tables and relations, for `app.db.query`. */
  schema?: Record<string, unknown>
  /** Remembers the highest timeline for all processes that share it; by default only this one remembers. */
  fence?: TimelineFence
}

export interface Postgres {
  /**
   * For selects that change nothing, not even through a function they call, and that may run twice. Concurrent reads
   * share a connection; a read that waits behind a slow one also runs on another. In `app.db`, every statement runs
   * once, on a connection of its own.
   */
  readonly reads: Db
  /** The other copies of the database; absent unless `url` names several hosts or there is a `replicaUrl`. */
  readonly copies?: Copies
  /**
   * The server to be written to, past any pooler, for those who keep a connection of their own.
   *
   * @throws Error that says why there is none at present
   */
  locate(): Promise<PostgresTarget>
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
  useCredentials(url: string, directUrl: string, replicaUrl?: string): void
  /**
   * Calls back when that happens, and when another host is the primary, for those who keep connections of their own.
   *
   * @returns a function that ends it
   */
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
  const options = parseOptions('rhone-database', DatabaseOptions, input, ['registry', 'schema', 'fence'])
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
  const targetsOf = (url: string): PostgresTarget[] => hostUrls(url).map(targetOf)
  const targets = targetsOf(options.url)
  const directTargets = targetsOf(options.directUrl || options.url)
  if (directTargets.length !== targets.length)
    throw new Error('rhone-database: options "url" and "directUrl" name different numbers of hosts')
  const target = targets[0]!
  let directTarget = directTargets[0]!
  const up = dependencyUp(input.registry)
  const conversions = { parsers: {}, serializers: {} }
  const renewals = new Set<() => void>()

  const hasCopies = targets.length > 1 || options.replicaUrl !== ''
  const { ADMISSION_COLUMNS, Hosts, Replica } = hasCopies ? await loadHosts() : {}
  const hosts =
    Hosts &&
    new Hosts({
      targets,
      directTargets,
      applicationName,
      connectTimeout,
      fence: input.fence ?? memoryFence(),
      onPrimary(next, nextDirect) {
        app.log.warn({ host: addressOf(next) }, 'the primary database is at this host')
        pool.cut()
        directTarget = nextDirect
        availability.retarget(next)
        listener.retarget(nextDirect)
        void availability.ping(connectTimeout * 1_000).catch(() => {})
        for (const renew of renewals) renew()
      },
      onNone(reason) {
        pool.cut()
        pool.dismiss(reason)
        availability.report('unreachable', reason)
        for (const renew of renewals) renew()
      }
    })

  const availability = new Availability({
    target,
    applicationName,
    connectTimeout,
    ...(hosts && { refusal: () => hosts.refusal }),
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
  const lending = {
    max: options.poolMax,
    queueTimeout: options.queueTimeout,
    maxQueue: options.maxQueue,
    idleTimeout: options.idleTimeout,
    maxLifetime: options.maxLifetime,
    pipeline: options.pipeline
  }
  const connection = {
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
  }
  const pool = new Pool({
    ...lending,
    connection: {
      ...connection,
      ...(hosts && { admission: { columns: ADMISSION_COLUMNS!, admit: row => hosts.admit(row) } })
    },
    ...(hosts && { locate: async () => (await hosts.locate()).target }),
    onOpen: isReadOnly => availability.reportOpened(isReadOnly),
    onFailure: (finding, reason) => {
      if (finding !== 'full') hosts?.suspect()
      availability.report(finding, reason)
    },
    onLost: () => {
      hosts?.suspect()
      availability.watch()
    },
    onPooler: isPrepared => {
      app.log.warn({ isPrepared }, 'the database is reached through a pooler')
      if ((options.directUrl || options.url) === options.url)
        app.log.error('notifications do not pass a pooler: set the direct URL, too')
    }
  })

  const replica =
    options.replicaUrl === '' || Replica === undefined
      ? undefined
      : new Replica({
          target: targetOf(options.replicaUrl),
          applicationName,
          connectTimeout,
          hosts: hosts!,
          primary: pool,
          pool: new Pool({
            ...lending,
            connection: { ...connection, target: targetOf(options.replicaUrl) },
            onOpen() {},
            onFailure: (_finding, err) => app.log.debug({ err }, 'the replica did not answer'),
            onLost() {},
            onPooler: () => app.log.error('the replica is behind a pooler: reads go to the primary, name it directly')
          }),
          onRead: readObserver(input.registry)
        })

  measurePool(input.registry, pool)
  if (hosts) measureHosts(input.registry, hosts)
  const handles = { tables: input.schema, isQuick }
  const { db, reads } = createDb(pool, conversions, queryObserver(input.registry), handles, replica)
  app.decorate('db', db)
  app.decorate('postgres', {
    reads,
    ...(hosts && { copies: copiesOf(hosts, replica, pool) }),
    locate: async () => (hosts === undefined ? directTarget : (await hosts.locate()).directTarget),
    ping: timeoutMs => availability.ping(timeoutMs),
    listen: async (channel, onNotify, onResync, onLost) => listener.listen(channel, { onNotify, onResync, onLost }),
    script: async text => pool.run(connection => connection.script(text)),
    tryCredentials: url => tryCredentials(targets, targetsOf(url), connectTimeout),
    useCredentials(url, directUrl, replicaUrl) {
      const [next, nextDirect] = [targetsOf(url), targetsOf(directUrl)]
      const at = hosts?.index ?? 0
      hosts?.retarget(next, nextDirect)
      directTarget = nextDirect[at]!
      pool.retarget(next[at]!)
      availability.retarget(next[at]!)
      listener.retarget(directTarget)
      if (replicaUrl !== undefined) replica?.retarget(targetOf(replicaUrl))
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
    await Promise.all([
      pool.end(END_TIMEOUT),
      listener.end(),
      availability.end(),
      hosts?.end(),
      replica?.end(END_TIMEOUT)
    ])
  })
  availability.watch()
}

/** A URL of another database or of other hosts would lose what is in use, so it takes a restart. */
async function tryCredentials(
  current: readonly PostgresTarget[],
  next: readonly PostgresTarget[],
  connectTimeout: number
): Promise<void> {
  if (next[0]!.database !== current[0]!.database) throw new Error('names another database, which takes a restart')
  if (next.length !== current.length) throw new Error('names other hosts, which takes a restart')
  const { ask, openSession } = await import('../lib/postgres-session.ts')
  const attempts = next.map(async target => {
    const session = openSession(target, { applicationName: 'rhone-check', connectTimeout, prepare: false })
    try {
      await ask(session, 'select 1', connectTimeout * 1_000)
    } finally {
      session.destroy()
    }
  })
  const results = await Promise.allSettled(attempts)
  const failed = results.filter(result => result.status === 'rejected')
  // Of several hosts, some may be down; none may refuse the credentials.
  const refused = failed.find(({ reason }) => failed.length === results.length || !isUnreachable(reason))
  if (refused !== undefined) throw refused.reason
}

function memoryFence(): TimelineFence {
  const highest = new Map<string, number>()
  return {
    highest: system => highest.get(system) ?? 0,
    raise: (system, timeline) => void highest.set(system, Math.max(timeline, highest.get(system) ?? 0))
  }
}

export default fp(database, { name: 'rhone-database', fastify: '5.x' })
