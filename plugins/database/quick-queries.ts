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

type Values = Record<string, unknown>

/** How one query fills its placeholders and maps its rows. */
interface Plan {
  readonly parametersOf: (values: Values) => unknown[]
  /** Undefined if the driver's objects are the result. */
  readonly toObjects: ((rows: readonly Row[]) => Values[]) | undefined
}

/** A query that runs a second time is one that was built to run often, so compiling its plan is worth the time. */
function runner(fields: readonly Field[] | undefined): Prepared['execute'] {
  let runs = 0
  let plan: Plan | undefined
  return function (this: Prepared, values = {}) {
    runs++
    if (plan === undefined || runs === 2) plan = (runs === 1 ? plain : compiled)(this.params, fields)
    const { parametersOf, toObjects } = plan
    const query = this.client.unsafe(this.queryString, parametersOf(values))
    return toObjects === undefined ? query.then(rows => rows) : query.values().then(toObjects)
  }
}

function plain(parameters: unknown[], fields: readonly Field[] | undefined): Plan {
  return {
    parametersOf: values => fillPlaceholders(parameters, values),
    toObjects: fields && rowMapper(fields)
  }
}

function compiled(parameters: unknown[], fields: readonly Field[] | undefined): Plan {
  const readers = parameters.map(readerOf)
  return {
    parametersOf: values => readers.map(read => read(values)),
    toObjects: fields && compiledRowMapper(fields)
  }
}

function readerOf(parameter: unknown): (values: Values) => unknown {
  if (is(parameter, Placeholder)) return placeholderReader(parameter)
  if (!is(parameter, Param) || !is(parameter.value, Placeholder)) return () => parameter
  const { encoder } = parameter
  const read = placeholderReader(parameter.value)
  return values => encoder.mapToDriverValue(read(values))
}

const placeholderReader =
  ({ name }: Placeholder) =>
  (values: Values) => {
    if (!(name in values)) throw new Error(`No value for placeholder "${name}" was provided`)
    return values[name]
  }

/* Rows are not mapped with `map`, which is slow for the driver's subclass of `Array`. */

function rowMapper(fields: readonly Field[]): (rows: readonly Row[]) => Values[] {
  const names = fields.map(nameOf)
  const decoders = fields.map(decoderOf)
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

/**
 * The same as a function of its own, in which V8 sees the columns: it takes a thirtieth of the time. The names come from
 * the code of the query, never from a request.
 */
function compiledRowMapper(fields: readonly Field[]): (rows: readonly Row[]) => Values[] {
  const decoders = fields.map(decoderOf)
  const properties = fields.map((field, at) => {
    const decoded = `row[${at}] === null ? null : decoders[${at}].mapFromDriverValue(row[${at}])`
    return `${JSON.stringify(nameOf(field))}: ${decoders[at] === undefined ? `row[${at}]` : decoded}`
  })
  return new Function(
    'decoders',
    `return rows => {
      const objects = new Array(rows.length)
      for (let index = 0; index < rows.length; index++) {
        const row = rows[index]
        objects[index] = { ${properties.join(', ')} }
      }
      return objects
    }`
  )(decoders)
}

const nameOf = ({ path }: Field): string => path[0]!

/** Undefined if the driver's values need no decoding. */
function decoderOf({ field }: Field): Decoder | undefined {
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
