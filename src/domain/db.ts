import type { Db } from '../../drizzle/schema.ts'
import { causesOf } from '../../plugins/lib/errors.ts'

export type { Db }

/**
 * A statement of a hot path, built once per database. Building a query costs about as much as running it, so what every
 * request needs is kept for as long as its database handle lives.
 */
export function statement<Statement>(build: (db: Db) => Statement): (db: Db) => Statement {
  const built = new WeakMap<Db, Statement>()
  return db => {
    const known = built.get(db)
    if (known !== undefined) return known
    const fresh = build(db)
    built.set(db, fresh)
    return fresh
  }
}

/** The name of the constraint that a failed statement ran against, if that is why it failed. */
export function violatedConstraint(error: unknown): string | undefined {
  for (const cause of causesOf(error))
    if ('constraint_name' in cause && typeof cause.constraint_name === 'string') return cause.constraint_name
}
