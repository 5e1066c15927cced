import { type Column, type SQL, sql } from 'drizzle-orm'
import { type AppError, errors } from '../../../plugins/lib/errors.ts'

/** Which page of a list is requested. */
export interface PageRequest {
  limit?: number
  cursor?: string
}

export interface Page<Item> {
  items: Item[]
  nextCursor: string | null
}

export const DEFAULT_LIMIT = 50

/*
 * A cursor is the key of a page's last item: its name in lists ordered by name, otherwise its position. Clients get it
 * as base64url; what they send back is untrusted.
 */
const encode = (key: string): string => Buffer.from(key, 'latin1').toString('base64url')
const decode = (cursor: string): string => Buffer.from(cursor, 'base64url').toString('latin1')

export const invalidCursor = (): AppError => errors.validation('cursor', 'must be the nextCursor of another page')

/**
 * Cuts the result of a query into a page.
 *
 * @param rows up to one more than the limit; the extra row says that there is a next page
 */
export function cutPage<Row>(rows: readonly Row[], limit = DEFAULT_LIMIT, keyOf: (row: Row) => string): Page<Row> {
  const items = rows.slice(0, limit)
  const last = items.at(-1)
  return { items, nextCursor: rows.length > limit && last !== undefined ? encode(keyOf(last)) : null }
}

/** A row's place in a list that is newest first, in microseconds, the precision of PostgreSQL. */
export interface Position {
  at: string
  id: string
}

const POSITION = /^(\d{1,16})\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/

export function parseCursor(cursor: string | undefined): Position | undefined {
  if (cursor === undefined) return undefined
  const [, at, id] = POSITION.exec(decode(cursor)) ?? []
  if (at === undefined || id === undefined) throw invalidCursor()
  return { at, id }
}

/** A position as the key of a cursor. */
export const positionKey = ({ at, id }: Position): string => `${at}.${id}`

/** A page of a list that is newest first. Its items still contain `at`, which the reply schemas leave out. */
export function toPage<Row extends Position>(rows: readonly Row[], limit?: number): Page<Omit<Row, 'at'>> {
  return cutPage(rows, limit, positionKey)
}

/** A timestamp as exact whole microseconds since 1970. */
export function microseconds(column: Column): SQL<string> {
  return sql<string>`(extract(epoch from ${column}) * 1000000)::bigint::text`
}

/** The columns that order a list newest first. */
interface Listed {
  createdAt: Column
  id: Column
}

/** The condition for the rows after a cursor; undefined on the first page. */
export function afterCursor(table: Listed, cursor: string | undefined): SQL | undefined {
  const position = parseCursor(cursor)
  return position && isOlder(table, position.at, position.id)
}

/** The same for a prepared statement, executed with {@link pageValues}. */
export function afterBoundCursor(table: Listed): SQL {
  const at = sql.placeholder('at')
  return sql`(${at}::bigint is null or ${isOlder(table, at, sql.placeholder('id'))})`
}

/** The parameters of a prepared list statement: the position, and a limit of one row more than the page shows. */
export function pageValues({ limit = DEFAULT_LIMIT, cursor }: PageRequest) {
  const { at = null, id = null } = parseCursor(cursor) ?? {}
  return { at, id, limit: limit + 1 }
}

function isOlder({ createdAt, id }: Listed, lastAt: unknown, lastId: unknown): SQL {
  return sql`(${createdAt}, ${id}) < (timestamptz 'epoch' + ${lastAt}::bigint * interval '1 microsecond', ${lastId}::uuid)`
}

const NAME = /^[\x21-\x7E]{1,255}$/

/** The name after which a page begins, in a list that is ordered by name. */
export function parseNameCursor(cursor: string | undefined): string | undefined {
  if (cursor === undefined) return undefined
  const name = decode(cursor)
  if (!NAME.test(name)) throw invalidCursor()
  return name
}
