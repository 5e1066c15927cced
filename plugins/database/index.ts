import type { FastifyBaseLogger, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { certificateExpiry, recordingPeer } from '../lib/certificate-expiry.ts'
import { dependencyUp } from '../lib/metrics.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import type { Db } from '../lib/own-types.ts'
import { addressOf, hostUrls, type PostgresTarget, postgresTarget } from '../lib/postgres.ts'
import type { Registry } from '../lib/registry.ts'
import type { DatabaseState, HostFinding } from './availability.ts'
import { type Copies, copiesOf } from './copies.ts'
import { tryCredentials } from './credentials.ts'
import type { TimelineFence } from './hosts.ts'
import { loadDriver, loadHosts } from './load-driver.ts'
import { measureHosts, measurePool, queryObserver, readObserver } from './metrics.ts'
import { DatabaseOptions, poolSettingsOf } from './options.ts'
import type { PoolStats } from './port.ts'
import type { Postgres } from './postgres.ts'

export type { Copies, DatabaseState, Db, PoolStats, Postgres, TimelineFence }
export { DatabaseOptions }

export interface DatabaseDeps {
  registry?: Registry
  /** Drizzle's tables and relations, for `app.db.query`. */
  schema?: Record<string, unknown>
  /** Remembers the highest timeline for all processes that share it; by default only this process does. */
  fence?: TimelineFence
}

declare module 'fastify' {
  interface FastifyInstance {
    db: Db
    postgres: Postgres
  }
}

const MESSAGES: Readonly<Record<Exclude<HostFinding, 'writable'>, string>> = {
  unreachable: 'the database cannot be reached',
  read_only: 'the database is read-only',
  full: 'the disk of the database is full'
}

/** How long operations in flight may take when the app closes, in seconds. */
const END_TIMEOUT = 5

const database: FastifyPluginAsync<PluginInput<typeof DatabaseOptions, DatabaseDeps>> = async (app, input) => {
  const options = parseOptions('rhone-database', DatabaseOptions, input, ['registry', 'schema', 'fence'])
  if (options.url === '')
    throw new Error('rhone-database: option "url" is required: the connection URL of a PostgreSQL')

  const { Availability, checkShortcuts, createDb, Listener, Pool } = await loadDriver()
  const { isQuick, isDirect } = await checkShortcuts(options.quickQueries, app.log)
  const { applicationName, connectTimeout } = options
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
    throw new Error('rhone-database: options "url" and "directUrl" must list the same number of hosts')
  const target = targets[0]!
  let directTarget = directTargets[0]!
  const up = dependencyUp(input.registry)
  const conversions = { parsers: {}, serializers: {} }
  const renewals = new Set<() => void>()

  const hasCopies = targets.length > 1 || options.replicaUrl !== ''
  const { ADMISSION_COLUMNS, Hosts, memoryFence, openReplica } = hasCopies ? await loadHosts() : {}
  const hosts =
    Hosts &&
    new Hosts({
      targets,
      directTargets,
      applicationName,
      connectTimeout,
      fence: input.fence ?? memoryFence!(),
      onPrimary(next, nextDirect) {
        app.log.info({ host: addressOf(next) }, 'connected to the primary database')
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
      if (finding === 'writable') app.log.info('the database accepts reads and writes')
      else app.log.error({ err: reason }, MESSAGES[finding])
      if (previous === 'read_only') pool.renew()
    }
  })
  const listener = new Listener({
    target: directTarget,
    applicationName,
    connectTimeout,
    onCallbackError: (err, channel) => app.log.error({ err, channel }, 'a notification handler failed')
  })
  const { connection, ...lending } = poolSettingsOf(options, target, isDirect, conversions)
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
      app.log.warn({ isPrepared }, 'the database is behind a pooler')
      if ((options.directUrl || options.url) === options.url)
        app.log.error('notifications do not work through a pooler: also set the direct URL')
    }
  })

  const replica = openReplica?.(options.replicaUrl, {
    targetOf,
    applicationName,
    connectTimeout,
    hosts: hosts!,
    primary: pool,
    poolFor: own => new Pool({ ...lending, connection: { ...connection, target: own }, ...replicaEvents(app.log) }),
    onRead: readObserver(input.registry)
  })
  measurePool(input.registry, pool)
  if (hosts !== undefined) measureHosts(input.registry, hosts)
  const handles = { tables: input.schema, isQuick }
  const { db, reads } = createDb(pool, conversions, queryObserver(input.registry), handles, replica)
  app.decorate('db', db)
  app.decorate('postgres', {
    reads,
    ...(hosts && { copies: copiesOf(hosts, replica, pool) }),
    locate: async () => (hosts === undefined ? directTarget : (await hosts.locate()).directTarget),
    ping: timeoutMs => availability.ping(timeoutMs),
    listen: async (channel, onNotify, onResync, onLost, onAlive) =>
      listener.listen(channel, { onNotify, onResync, onLost, onAlive }),
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
    await Promise.all([pool.end(END_TIMEOUT), listener.end(), availability.end()])
    await Promise.all([hosts?.end(), replica?.end(END_TIMEOUT)])
  })
  // With several hosts, the survey decides which one to ping.
  if (hosts === undefined) availability.watch()
}

const replicaEvents = (log: FastifyBaseLogger) => ({
  onOpen() {},
  onFailure: (_finding: HostFinding, err: unknown) => log.debug({ err }, 'the replica did not answer'),
  onLost() {},
  onPooler: () => log.error('the replica is behind a pooler: reads go to the primary; use a direct URL')
})

export default fp(database, { name: 'rhone-database', fastify: '5.x' })
