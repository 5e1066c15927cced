import { tracingChannel } from 'node:diagnostics_channel'
import { drizzle } from 'drizzle-orm/postgres-js'
import type { Sql } from 'postgres'
import type { Db } from '../lib/own-types.ts'
import type { Pool } from './pool.ts'
import type { Conversions, Runner, TransactionRunner } from './port.ts'
import { adapt } from './quick-queries.ts'
import { type QueryKind, statementReader } from './statement-kind.ts'

/** Lends connections for reads. */
export type Readable = Pick<Pool, 'run' | 'read'>

export type Observe = (kind: QueryKind, seconds: number) => void

/** The message on the tracing channel `rhone.db` for each statement and transaction: its kind, never its text. */
export interface DatabaseTrace {
  readonly kind: QueryKind
}

const channel = tracingChannel<unknown, DatabaseTrace>('rhone.db')

/** The drizzle handles of a database. */
export interface DrizzleHandles {
  readonly db: Db
  /** Sends every select as a repeatable read, which shares a connection with others and may run twice. */
  readonly reads: Db
}

/**
 * Drizzle over our pool. The client implements only what drizzle uses of postgres.js: `unsafe`, `begin`, `savepoint`,
 * and the conversions that drizzle writes into `options`. A client also has `repeatable`, the client for repeatable
 * reads; a transaction's client also has `commitWithNext`.
 *
 * @param readPool where the repeatable reads of `reads` go; those of `db` always go to `pool`
 * @param options.tables the tables that `db.query` knows; everything else works without them
 * @param options.isQuick whether queries bypass drizzle's own execution path
 */
export function createDb(
  pool: Pool,
  conversions: Conversions,
  observe: Observe | undefined,
  options: HandleOptions,
  readPool: Readable = pool
): DrizzleHandles {
  const describe = statementReader()
  const begin = (body: Body) =>
    pool.run(connection =>
      observed('transaction', () => connection.transaction(async transaction => body(within(transaction))))
    )
  const query = (text: string, parameters: unknown[]) =>
    new PendingQuery(asArrays => pool.run(connection => run(connection, text, parameters, asArrays)))
  const readFrom = (source: Readable) => (text: string, parameters: unknown[]) =>
    new PendingQuery(asArrays => {
      const work = (connection: Runner) => run(connection, text, parameters, asArrays)
      return describe(text).isPlainSelection ? source.read(work) : source.run(work)
    })
  const repeatable = { options: conversions, unsafe: readFrom(pool), begin }
  const elsewhere = readPool === pool ? repeatable : { ...repeatable, unsafe: readFrom(readPool) }
  return {
    db: handleOf({ options: conversions, unsafe: query, begin, repeatable }, options),
    reads: handleOf(elsewhere, options)
  }

  function within(transaction: TransactionRunner): unknown {
    return {
      unsafe: (text: string, parameters: unknown[]) =>
        new PendingQuery(asArrays => run(transaction, text, parameters, asArrays)),
      commitWithNext: () => transaction.commitWithNext(),
      savepoint: (body: Body) => transaction.savepoint(async inner => body(within(inner)))
    }
  }

  function run(runner: Runner, text: string, parameters: unknown[], asArrays: boolean): Promise<unknown> {
    if (observe === undefined && !channel.hasSubscribers) return runner.query(text, parameters, asArrays)
    return observed(describe(text).kind, () => runner.query(text, parameters, asArrays))
  }

  function observed<T>(kind: QueryKind, work: () => Promise<T>): Promise<T> {
    if (channel.hasSubscribers) return measured(kind, () => channel.tracePromise(work, { kind }))
    return measured(kind, work)
  }

  function measured<T>(kind: QueryKind, work: () => Promise<T>): Promise<T> {
    if (observe === undefined) return work()
    const start = performance.now()
    const result = work()
    const end = () => observe(kind, (performance.now() - start) / 1_000)
    result.then(end, end)
    return result
  }
}

interface HandleOptions {
  readonly tables: Record<string, unknown> | undefined
  readonly isQuick: boolean
}

function handleOf(client: object, { tables, isQuick }: HandleOptions): Db {
  const db = drizzle(client as unknown as Sql, { casing: 'snake_case', schema: tables })
  adapt(db._.session, isQuick)
  const { transaction } = db
  db.transaction = (body, settings) =>
    transaction.call(
      db,
      tx => {
        adapt(tx._.session, isQuick)
        return body(tx)
      },
      settings
    ) as ReturnType<typeof body>
  // Only the app knows the types of its tables.
  return db as unknown as Db
}

/** Drizzle calls this with the client of a transaction or a savepoint. */
type Body = (client: unknown) => Promise<unknown>

/** Starts when awaited, like the driver's queries: until then drizzle may ask for arrays instead of objects. */
class PendingQuery implements PromiseLike<unknown> {
  readonly #start: (asArrays: boolean) => Promise<unknown>
  #asArrays = false

  constructor(start: (asArrays: boolean) => Promise<unknown>) {
    this.#start = start
  }

  values(): this {
    this.#asArrays = true
    return this
  }

  // biome-ignore lint/suspicious/noThenProperty: what drizzle awaits
  then<A, B>(onRows: (rows: unknown) => A | PromiseLike<A>, onError: (error: unknown) => B | PromiseLike<B>) {
    return this.#start(this.#asArrays).then(onRows, onError)
  }
}
