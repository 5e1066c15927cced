import { type Static, Type } from '@sinclair/typebox'
import type { PostgresTarget } from '../lib/postgres.ts'
import type { Conversions } from './port.ts'

export const DatabaseOptions = Type.Object(
  {
    url: Type.String({
      default: '',
      description:
        'postgres://user:password@host:port/database; required. `sslmode` and related parameters work as in libpq. Of several hosts, `a:5432,b:5432`, the one that accepts writes is used.'
    }),
    directUrl: Type.String({
      default: '',
      description:
        'The same database without a transaction pooler, for LISTEN; the same hosts in the same order. Empty: `url`.'
    }),
    replicaUrl: Type.String({
      default: '',
      description: 'The standby that serves `reads` while it is recent enough. Empty: the primary.'
    }),
    poolMax: Type.Integer({
      default: 10,
      minimum: 1,
      description: 'Connections for queries. An instance opens two more: for LISTEN and for pings.'
    }),
    prepare: Type.Union([Type.Literal('auto'), Type.Boolean()], {
      default: 'auto',
      description: 'Whether to use named prepared statements. auto: unless the database is behind a pooler.'
    }),
    queueTimeout: Type.Integer({
      default: 1_000,
      minimum: 1,
      description: 'Milliseconds for which a query waits for a connection before it is refused with 503.'
    }),
    maxQueue: Type.Integer({
      default: 1_000,
      minimum: 0,
      description: 'Queries that may wait for a connection; further ones are refused with 503.'
    }),
    statementTimeout: Type.Integer({
      default: 5_000,
      minimum: 0,
      description: 'Timeout of a statement in milliseconds, enforced by the database. 0: none.'
    }),
    lockTimeout: Type.Integer({
      default: 2_000,
      minimum: 0,
      description: 'Timeout for a lock in milliseconds. 0: none.'
    }),
    idleInTransactionTimeout: Type.Integer({
      default: 10_000,
      minimum: 0,
      description: 'Timeout of an idle transaction in milliseconds, enforced by the database. 0: none.'
    }),
    connectTimeout: Type.Number({
      default: 5,
      exclusiveMinimum: 0,
      description: 'Timeout for connecting, in seconds.'
    }),
    idleTimeout: Type.Number({
      default: 60,
      exclusiveMinimum: 0,
      description: 'Seconds after which an unused connection is closed.'
    }),
    maxLifetime: Type.Number({
      default: 1_800,
      exclusiveMinimum: 0,
      description: 'Maximum age of a connection in seconds, minus a random share of up to a fifth.'
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
        'Skips the overhead of drizzle and the driver around each query. If off, or if they change, queries take the standard path.'
    }),
    applicationName: Type.String({ default: 'rhone', minLength: 1, description: 'The name shown in pg_stat_activity.' })
  },
  { additionalProperties: false }
)
export type DatabaseOptions = Static<typeof DatabaseOptions>

/** The settings of a pool of connections to `target`. */
export function poolSettingsOf(
  options: DatabaseOptions,
  target: PostgresTarget,
  isDirect: boolean,
  conversions: Conversions
) {
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
      isDirect,
      conversions
    }
  }
}
