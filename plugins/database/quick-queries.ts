import { Column, fillPlaceholders, is, Param, Placeholder, SQL } from 'drizzle-orm'
import type { PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import { AppError } from '../lib/errors.ts'

export type Drizzle = PostgresJsDatabase<Record<string, unknown>>

/** What drizzle stores for a built query. */
interface Prepared {
  readonly client: {
    unsafe(text: string, parameters: unknown[]): PromiseLike<unknown> & { values(): PromiseLike<Row[]> }
  }
  readonly queryString: string
  readonly params: unknown[]
  readonly fields: readonly Field[] | undefined
  readonly customResultMapper: unknown
  execute(values?: Record<string, unknown>): PromiseLike<unknown>
}

interface Field {
  readonly path: readonly string[]
  readonly field: unknown
}

interface Decoder {
  mapFromDriverValue(value: unknown): unknown
}

type Row = readonly unknown[]

/**
 * Makes a session's queries reject with the database's own error, without drizzle's wrapper, which contains the query
 * and its values.
 *
 * @param isQuick skips drizzle's spans and caches, which are unused but cost a promise each, and inspects columns and
 *   parameters once, not for every value. Queries with nested rows stay as they are.
 */
export function adapt(session: Drizzle['_']['session'], isQuick: boolean): void {
  const prepareQuery = session.prepareQuery.bind(session)
  session.prepareQuery = (...query) => {
    const prepared = prepareQuery(...query)
    const { fields, customResultMapper } = prepared as unknown as Prepared
    if (isQuick && customResultMapper === undefined && isFlat(fields))
      prepared.execute = runner(fields) as typeof prepared.execute
    else prepared.execute = unwrapping(prepared.execute)
    return prepared as never
  }
}

function runner(fields: readonly Field[] | undefined): Prepared['execute'] {
  const parametersOf = parameterFiller()
  if (fields === undefined)
    return function (this: Prepared, values = {}) {
      return this.client.unsafe(this.queryString, parametersOf(this.params, values)).then(rows => rows)
    }
  const toObjects = rowMapper(fields)
  return function (this: Prepared, values = {}) {
    const query = this.client.unsafe(this.queryString, parametersOf(this.params, values))
    return query.values().then(toObjects)
  }
}

type Values = Record<string, unknown>

/** Drizzle's own function, but a query that runs again looks for its placeholders only once. */
function parameterFiller(): (parameters: unknown[], values: Values) => unknown[] {
  let runs = 0
  let readers: ((values: Values) => unknown)[] | undefined
  return (parameters, values) => {
    if (runs++ === 0) return fillPlaceholders(parameters, values)
    readers ??= parameters.map(readerOf)
    return readers.map(read => read(values))
  }
}

function readerOf(parameter: unknown): (values: Values) => unknown {
  if (is(parameter, Placeholder)) return valueOf(parameter)
  if (!is(parameter, Param) || !is(parameter.value, Placeholder)) return () => parameter
  const { encoder } = parameter
  const read = valueOf(parameter.value)
  return values => encoder.mapToDriverValue(read(values))
}

const valueOf =
  ({ name }: Placeholder) =>
  (values: Values) => {
    if (!(name in values)) throw new Error(`No value for placeholder "${name}" was provided`)
    return values[name]
  }

/** Not `map`, which is slow for the driver's subclass of `Array`. */
function rowMapper(fields: readonly Field[]): (rows: readonly Row[]) => Values[] {
  const names = fields.map(({ path }) => path[0]!)
  const decoders = fields.map(({ field }) => decoderOf(field))
  // Copying an object that has all keys is faster than adding them one by one.
  const blank = Object.fromEntries(names.map(name => [name, null]))
  return rows => {
    const objects = new Array<Values>(rows.length)
    for (let index = 0; index < rows.length; index++) {
      const row = rows[index]!
      const object: Values = { ...blank }
      for (let at = 0; at < names.length; at++) {
        const value = row[at]
        const decoder = decoders[at]
        object[names[at]!] = value === null || decoder === undefined ? value : decoder.mapFromDriverValue(value)
      }
      objects[index] = object
    }
    return objects
  }
}

/** Undefined if the driver's values need no decoding. */
function decoderOf(field: unknown): Decoder | undefined {
  if (!is(field, Column))
    return ((is(field, SQL) ? field : (field as SQL.Aliased).sql) as unknown as { decoder: Decoder }).decoder
  return field.mapFromDriverValue === Column.prototype.mapFromDriverValue ? undefined : field
}

function isFlat(fields: readonly Field[] | undefined): boolean {
  return (fields ?? []).every(
    ({ path, field }) => path.length === 1 && (is(field, Column) || is(field, SQL) || is(field, SQL.Aliased))
  )
}

/** Drizzle wraps every query error in its own; errors meant for clients are unwrapped again. */
function unwrapping<Execute extends (...given: never[]) => Promise<unknown>>(execute: Execute): Execute {
  return async function (this: unknown, ...given: never[]) {
    try {
      return await execute.apply(this, given)
    } catch (error) {
      throw error instanceof Error && error.cause instanceof AppError ? error.cause : error
    }
  } as Execute
}
