import { sql } from 'drizzle-orm'
import type { Db } from '../../../drizzle/schema.ts'
import { causesOf } from '../../../plugins/lib/errors.ts'

export type { Db }

/**
 * A statement of a hot path, built once: building a query costs about as much as running it. For every database, and for
 * every transaction, it is the same but for the client that it is sent by.
 */
export function statement<Statement extends object>(build: (db: Db) => Statement): (db: Db) => Statement {
  return prepareOnce(build, clientOf)
}

/**
 * The same for a select that changes nothing, not even by a function that it calls: outside of transactions it shares
 * connections with others, and may run twice.
 */
export function repeatableRead<Statement extends object>(build: (db: Db) => Statement): (db: Db) => Statement {
  return prepareOnce(build, db => {
    const client = clientOf(db) as { repeatable?: unknown }
    return client.repeatable ?? client
  })
}

function prepareOnce<Statement extends object>(
  build: (db: Db) => Statement,
  senderOf: (db: Db) => unknown
): (db: Db) => Statement {
  let built: Statement | undefined
  const bound = new WeakMap<Db, Statement>()
  return db => {
    const known = bound.get(db)
    if (known !== undefined) return known
    built ??= build(db)
    const fresh: Statement = Object.create(built, { client: { value: senderOf(db) } })
    bound.set(db, fresh)
    return fresh
  }
}

/** What drizzle sends the queries of a handle by. */
const clientOf = ({ _: { session } }: Db) => (session as unknown as { client: unknown }).client

/**
 * Says that the next statement of a transaction is its last, so that COMMIT goes with it and takes no round trip of its
 * own. Where the statement fails, nothing is committed, as ever. Databases that cannot do this commit as they do.
 */
export function commitWithNext(tx: Db): void {
  const client = clientOf(tx) as { commitWithNext?: () => void }
  client.commitWithNext?.()
}

/**
 * Reads what depends on its values for how it is best read: where a word is looked for that few rows have, or most. After
 * five runs of a statement, PostgreSQL makes one plan for all values, which for such a search is to go through every row.
 */
export function plannedByValues<T>(db: Db, read: (tx: Db) => Promise<T>): Promise<T> {
  return db.transaction(async tx => {
    await tx.execute(sql`set local plan_cache_mode = force_custom_plan`)
    return read(tx)
  })
}

/** The name of the constraint that a failed statement ran against, if that is why it failed. */
export function violatedConstraint(error: unknown): string | undefined {
  for (const cause of causesOf(error))
    if ('constraint_name' in cause && typeof cause.constraint_name === 'string') return cause.constraint_name
}
