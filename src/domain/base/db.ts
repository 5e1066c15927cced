import { type SQL, sql } from 'drizzle-orm'
import type { Db } from '../../../drizzle/schema.ts'
import { causesOf } from '../../../plugins/lib/errors.ts'

export type { Db }

/**
 * Builds a statement of a hot path only once: building a query costs about as much as running it. The statement works
 * for every database and transaction; only the client that sends it differs.
 */
export function statement<Statement extends object>(build: (db: Db) => Statement): (db: Db) => Statement {
  return prepareOnce(build, clientOf)
}

/**
 * Statements that set columns, one for each set of columns that is asked for. Few sets occur in practice.
 *
 * @param build gets placeholders that are named like the columns
 */
export function statementsByColumns<Statement extends object>(
  build: (db: Db, values: Record<string, SQL>) => Statement
): (columns: readonly string[]) => (db: Db) => Statement {
  const known = new Map<string, (db: Db) => Statement>()
  return columns => {
    const names = columns.toSorted().join()
    let found = known.get(names)
    if (found === undefined) {
      const values = Object.fromEntries(columns.map(column => [column, sql`${sql.placeholder(column)}`]))
      found = statement(db => build(db, values))
      known.set(names, found)
    }
    return found
  }
}

/**
 * The same as {@link statement} for a select without side effects, including those of functions that it calls. Outside of transactions it
 * shares connections with other queries, and may run twice.
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
  return db => {
    built ??= build(db)
    const bound: Statement & { client?: unknown } = Object.create(built)
    bound.client = senderOf(db)
    return bound
  }
}

/** The client that drizzle sends the queries of a handle with. */
const clientOf = ({ _: { session } }: Db) => (session as unknown as { client: unknown }).client

/**
 * Marks the next statement of a transaction as its last, so that COMMIT is sent with it and costs no round trip of its
 * own. If the statement fails, nothing is committed. Databases without support for this commit as usual.
 */
export function commitWithNext(tx: Db): void {
  const client = clientOf(tx) as { commitWithNext?: () => void }
  client.commitWithNext?.()
}

/**
 * Reads with a plan for the actual values, as a search for a word needs: it may occur in few rows or in most. After
 * five runs of a prepared statement, PostgreSQL may switch to a generic plan, which would scan every row.
 */
export function plannedByValues<T>(db: Db, read: (tx: Db) => Promise<T>): Promise<T> {
  return db.transaction(async tx => {
    await tx.execute(sql`set local plan_cache_mode = force_custom_plan`)
    return read(tx)
  })
}

/** The name of the constraint that a failed statement violated, if any. */
export function violatedConstraint(error: unknown): string | undefined {
  for (const cause of causesOf(error))
    if ('constraint_name' in cause && typeof cause.constraint_name === 'string') return cause.constraint_name
}

/** Whether PostgreSQL refused a value: it is invalid (SQLSTATE class 22) or violates a constraint (class 23). */
export function isRefusedValue(error: unknown): boolean {
  return causesOf(error).some(cause => 'code' in cause && /^2[23][0-9A-Z]{3}$/.test(String(cause.code)))
}
