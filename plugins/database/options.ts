import { type Static, Type } from '@sinclair/typebox'
import type { PostgresTarget } from '../lib/postgres.ts'
import type { Conversions } from './port.ts'

export const DatabaseOptions = Type.Object(
  {
    url: Type.String({
      default: '',
      description:
        'postgres://user:password@host:port/database; required. `sslmode` and its kin mean what libpq says. Of several hosts, `a:5432,b:5432`, the one that takes writes is used.'
    }),
    directUrl: Type.String({
      default: '',
      description:
        'The same database past any transaction pooler, for LISTEN; as many hosts, in the same order. Empty: `url`.'
    }),
    replicaUrl: Type.String({
      default: '',
      description: 'The standby that `reads` go to while it has all that they must show. Empty: the primary.'
    }),
    poolMax: Type.Integer({
      default: 10,
      minimum: 1,
      description: 'Connections for queries. An instance has two more: one that listens, one for pings.'
    }),
    prepare: Type.Union([Type.Literal('auto'), Type.Boolean()], {
      default: 'auto',
      description: 'Whether to use named prepared statements. auto: unless the database is behind a pooler.'
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
      description: 'Milliseconds that a statement may take, enforced by the server. 0: no limit.'
    }),
    lockTimeout: Type.Integer({
      default: 2_000,
      minimum: 0,
      description: 'Milliseconds that a statement may wait for a lock. 0: no limit.'
    }),
    idleInTransactionTimeout: Type.Integer({
      default: 10_000,
      minimum: 0,
      description: 'Milliseconds that a transaction may be idle before the server ends it. 0: no limit.'
    }),
    connectTimeout: Type.Number({ default: 5, exclusiveMinimum: 0, description: 'Seconds that connecting may take.' }),
    idleTimeout: Type.Number({
      default: 60,
      exclusiveMinimum: 0,
      description: 'Seconds after which an unused connection is closed.'
    }),
    maxLifetime: Type.Number({
      default: 1_800,
      exclusiveMinimum: 0,
      description: 'Seconds after which a connection is replaced, minus a random share of up to a fifth.'
    }),
    pipeline: Type.Integer({
      default: 8,
      minimum: 1,
      maximum: 16,
      description: 'Repeatable reads that may share one connection at a time; 1 gives each its own.'
    }),
    quickQueries: Type.Boolean({
      default: true,
      description:
        'Skips drizzle’s work around each query. If off, or if drizzle has changed, queries run as drizzle runs them.'
    }),
    applicationName: Type.String({ default: 'rhone', minLength: 1, description: 'The name shown in pg_stat_activity.' })
  },
  { additionalProperties: false }
)
export type DatabaseOptions = Static<typeof DatabaseOptions>

/** The settings of a pool of connections to `target`. */
export function poolSettingsOf(options: DatabaseOptions, target: PostgresTarget, conversions: Conversions) {
  const { applicationName, prepare, connectTimeout, statementTimeout } = options
  return {
    max: options.poolMax,
    queueTimeout: options.queueTimeout,
    maxQueue: options.maxQueue,
    idleTimeout: options.idleTimeout,
    maxLifetime: options.maxLifetime,
    pipeline: options.pipeline,
    connection: {
      target,
      applicationName,
      prepare,
      connectTimeout,
      statementTimeout,
      parameters: {
        statement_timeout: statementTimeout,
        lock_timeout: options.lockTimeout,
        idle_in_transaction_session_timeout: options.idleInTransactionTimeout
      },
      conversions
    }
  }
}
