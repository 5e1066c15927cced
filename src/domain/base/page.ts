import { type Column, type SQL, sql } from 'drizzle-orm'
import { type AppError, errors } from '../../../plugins/lib/errors.ts'

/** What a list is asked for. */
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
 * A cursor is the key of a page's last item: its name, in a list whose items have names, else its position. It goes to the
 * client as base64url, and comes back as whatever the client likes.
 */
const encode = (key: string): string => Buffer.from(key, 'latin1').toString('base64url')
const decode = (cursor: string): string => Buffer.from(cursor, 'base64url').toString('latin1')

export const invalidCursor = (): AppError => errors.validation('cursor', 'must be the nextCursor of a page')

/**
 * Cuts what a query found into a page.
 *
 * @param rows one more than the limit, where there are that many: its presence says that there is a next page
 */
export function cutPage<Row>(rows: readonly Row[], limit = DEFAULT_LIMIT, keyOf: (row: Row) => string): Page<Row> {
  const items = rows.slice(0, limit)
  const last = items.at(-1)
  return { items, nextCursor: rows.length > limit && last !== undefined ? encode(keyOf(last)) : null }
}

/** A row's place in a list that is newest first. Microseconds, because that is how exactly PostgreSQL keeps time. */
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

/** By which a position goes into a cursor. */
export const positionKey = ({ at, id }: Position): string => `${at}.${id}`

/** A page of a list that is newest first. Its items still hold `at`, which the schemas of replies leave out. */
export function toPage<Row extends Position>(rows: readonly Row[], limit?: number): Page<Omit<Row, 'at'>> {
  return cutPage(rows, limit, positionKey)
}

/** A timestamp as whole microseconds since 1970, exactly. */
export function microseconds(column: Column): SQL<string> {
  return sql<string>`(extract(epoch from ${column}) * 1000000)::bigint::text`
}

/** A table that is listed newest first. */
interface Listed {
  createdAt: Column
  id: Column
}

/** The condition of the rows after a cursor; undefined on the first page, which has all. */
export function afterCursor(table: Listed, cursor: string | undefined): SQL | undefined {
  const position = parseCursor(cursor)
  return position && isOlder(table, position.at, position.id)
}

/** The same in a statement that is prepared, and executed with {@link pageValues}. */
export function afterBoundCursor(table: Listed): SQL {
  const at = sql.placeholder('at')
  return sql`(${at}::bigint is null or ${isOlder(table, at, sql.placeholder('id'))})`
}

/** What a prepared statement of a list is given: the position, and a limit of one row more than the page shows. */
export function pageValues({ limit = DEFAULT_LIMIT, cursor }: PageRequest) {
  const { at = null, id = null } = parseCursor(cursor) ?? {}
  return { at, id, limit: limit + 1 }
}

function isOlder({ createdAt, id }: Listed, lastAt: unknown, lastId: unknown): SQL {
  return sql`(${createdAt}, ${id}) < (timestamptz 'epoch' + ${lastAt}::bigint * interval '1 microsecond', ${lastId}::uuid)`
}

const NAME = /^[\x21-\x7E]{1,255}$/

/** The name after which a page begins, in a list whose items have names. */
export function parseNameCursor(cursor: string | undefined): string | undefined {
  if (cursor === undefined) return undefined
  const name = decode(cursor)
  if (!NAME.test(name)) throw invalidCursor()
  return name
}
