import type { RhoneTypes } from 'fastify'

/*
 * Some types belong to the app and not to the plugins: its tables, its rate classes, its kinds of audit events. An app
 * names them once, and every plugin is typed by them:
 *
 *     declare module 'fastify' {
 *       interface RhoneTypes {
 *         db: PgDatabase<PostgresJsQueryResultHKT, typeof schema>
 *         rateClass: 'upload' | 'search'
 *       }
 *     }
 *
 * What an app does not name has the default below. Nothing here imports drizzle, whose declarations only compile with
 * `skipLibCheck`.
 */

declare module 'fastify' {
  /**
   * The app's own types, for declaration merging: `db` (its drizzle database), `rateClass` (a union of names),
   * `auditType` (a union of event types), `signInMethod` (a union of names).
   */
  interface RhoneTypes {}
}

type Own<Key extends string, Default> = RhoneTypes extends Readonly<Record<Key, infer Type>> ? Type : Default

/** What plugins can count on in a drizzle database over PostgreSQL, or in a transaction of one. */
export interface Database {
  execute(query: unknown): PromiseLike<unknown>
  transaction<Result>(work: (tx: Database) => Promise<Result>): Promise<Result>
}

/** The app's database, or a transaction in it: `RhoneTypes.db` where the app names it. */
export type Db = Own<'db', Database>

/** The names of the app's rate classes, in addition to those of the rate limit. */
export type OwnRateClass = Own<'rateClass', never>

/** What audit events are about: `RhoneTypes.auditType` where the app names it. */
export type AuditType = Own<'auditType', string>

/** How users sign in: `RhoneTypes.signInMethod` where the app names it. */
export type SignInMethod = Own<'signInMethod', string>
