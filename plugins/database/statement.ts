import { isDeepStrictEqual } from 'node:util'
import postgres, { type Sql } from 'postgres'
import type { Member } from './bag.ts'
import { markStalePlan } from './stale-plan.ts'

/** How the driver sends a statement: prepared or not, with parameters or as a simple query. */
export interface Preparation {
  readonly prepare: boolean
  readonly simple: boolean
}

export const PREPARED: Preparation = { prepare: true, simple: false }
/** An unprepared statement with parameters takes two round trips. */
const UNPREPARED: Preparation = { prepare: false, simple: false }
/** One without takes a single round trip. */
const SIMPLE: Preparation = { prepare: false, simple: true }

export const unpreparedWith = (parameters: readonly unknown[]): Preparation =>
  parameters.length === 0 ? SIMPLE : UNPREPARED

/** What becomes of a statement; one of both is called, once. */
export interface Outcome {
  /** @param rows arrays of values if the statement asked for them, or else the driver's result with objects */
  onRows(rows: unknown): void
  onError(error: Error): void
}

type Row = readonly unknown[]

const NO_ROWS: Row[] = []

/**
 * A statement that was sent and not answered. The driver takes it for a query of its own: it reads and writes the
 * members from `strings` on, and those that it adds.
 *
 * A query of the driver is a promise that assigns two functions to its properties. V8 creates functions in such
 * assignments in the old generation, as most of them are methods of prototypes. They refer to the query, and it to its
 * rows, so collections of young objects keep them all: 1.3 KB for a row, copied twice and left for a full collection.
 */
export class Statement implements Member {
  place = 0
  readonly strings: readonly [string]
  readonly args: unknown[]
  readonly options: Preparation
  /** Whether rows are arrays. */
  readonly isRaw: 'values' | undefined
  /** Collects the rows. The driver's own array was created when the statement before ended, and may be old by now. */
  readonly forEachFn: typeof collect | undefined
  rows: Row[]
  readonly tagged = false
  readonly origin = ''
  active = false
  cancelled = false
  signature: unknown = ''
  state: unknown = null
  statement: unknown = null
  parameters: unknown
  prepare: unknown
  prepared: unknown
  string: unknown
  describeFirst: unknown
  #outcome: Outcome | undefined

  constructor(text: string, parameters: unknown[], asArrays: boolean, preparation: Preparation, outcome: Outcome) {
    this.strings = [text]
    this.args = parameters
    this.options = preparation
    this.isRaw = asArrays ? 'values' : undefined
    this.forEachFn = asArrays ? collect : undefined
    this.rows = asArrays ? [] : NO_ROWS
    this.#outcome = outcome
  }

  resolve(result: unknown): void {
    this.active = false
    const outcome = this.#outcome
    this.#outcome = undefined
    const { rows } = this
    // The driver may keep the last statement of a queue that ran empty.
    this.rows = NO_ROWS
    outcome?.onRows(this.forEachFn === undefined ? result : rows)
  }

  reject(error: Error): void {
    this.active = false
    const outcome = this.#outcome
    this.#outcome = undefined
    outcome?.onError(error)
  }

  get retried(): undefined {
    return undefined
  }

  /**
   * Set by the driver just before it sends a statement again because the server has lost its plan or found it outdated.
   * It must not: the parameters are already encoded, and encoding them twice corrupts byte strings and turns `true` into
   * `false`. Statements sent meanwhile on the same connection would get wrong answers, too. It sends nothing that is
   * cancelled.
   */
  set retried(error: Error) {
    this.cancelled = true
    this.reject(markStalePlan(error))
  }
}

function collect(this: Statement, row: Row): void {
  this.rows.push(row)
}

/** Hands a statement to the driver. */
export type Send = (statement: Statement) => void

/** The driver's query, as far as it is undocumented. */
interface DriverQuery {
  readonly handler: Send
}

/** Sends statements as they are, in place of the driver's queries. */
export function directSend(sql: Sql): Send {
  const { handler } = sql.unsafe('') as unknown as DriverQuery
  return handler
}

/** Sends a query of the driver for each statement. */
export function documentedSend(sql: Sql): Send {
  return statement => {
    const { strings, args, options, rows } = statement
    const query = sql.unsafe(strings[0], args as never[], options as { prepare: boolean })
    if (options.prepare) Object.defineProperty(query, 'retried', RETRIED)
    if (statement.isRaw) query.values().forEach(row => void rows.push(row as Row))
    query.then(
      result => statement.resolve(result),
      error => statement.reject(error)
    )
  }
}

const RETRIED = Object.getOwnPropertyDescriptor(Statement.prototype, 'retried')!

const MEMBERS =
  'tagged strings args handler canceller options state statement resolve reject active cancelled executed signature'

/** Whether the driver's queries have the members that this code knows, and no others. */
export function statementsWork(query: object = postgres({ max: 1 }).unsafe('')): boolean {
  const { handler } = query as Partial<DriverQuery>
  return isDeepStrictEqual(Object.keys(query), MEMBERS.split(' ')) && typeof handler === 'function'
}
