import type { RhoneTypes } from 'fastify'

/*
 * Some types belong to the app rather than the plugins: its tables, rate classes and audit event types. An app declares
 * them once, and every plugin uses them:
 *
 *     declare module 'fastify' {
 *       interface RhoneTypes {
 *         db: PgDatabase<PostgresJsQueryResultHKT, typeof schema>
 *         rateClass: 'upload' | 'search'
 *       }
 *     }
 *
 * Types that an app does not declare have the defaults below. Nothing here imports drizzle, whose declarations compile
 * only with `skipLibCheck`.
 */

declare module 'fastify' {
  /**
   * The app's own types, for declaration merging: `db` (its drizzle database), `rateClass` (a union of names),
   * `auditType` (a union of event types), `signInMethod` (a union of names).
   */
  interface RhoneTypes {}
}

type Own<Key extends string, Default> = RhoneTypes extends Readonly<Record<Key, infer Type>> ? Type : Default

/** The part of a drizzle PostgreSQL database or transaction that plugins rely on. */
export interface Database {
  execute(query: unknown): PromiseLike<unknown>
  transaction<Result>(work: (tx: Database) => Promise<Result>): Promise<Result>
}

/** The app's database or a transaction in it: `RhoneTypes.db` if declared. */
export type Db = Own<'db', Database>

/** The names of the app's rate classes, in addition to those of the rate limit. */
export type OwnRateClass = Own<'rateClass', never>

/** Types of audit events: `RhoneTypes.auditType` if declared. */
export type AuditType = Own<'auditType', string>

/** Sign-in methods: `RhoneTypes.signInMethod` if declared. */
export type SignInMethod = Own<'signInMethod', string>
