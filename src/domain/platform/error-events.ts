import { and, asc, desc, eq, gte, lt, type SQL, sql } from 'drizzle-orm'
import { errorEvents } from '../../../drizzle/schema.ts'
import type { Db } from '../base/db.ts'
import { cutPage, DEFAULT_LIMIT, invalidCursor, type PageRequest, parseNameCursor } from '../base/page.ts'

const HOUR = 60 * 60 * 1000
const MAX_PENDING = 1_000

/** A server error as counted for the operators' dashboard. */
export interface ServerError {
  code: string
  /** The route's pattern, never the URL. */
  route: string
  requestId: string
}

export interface ErrorJournal {
  /** Counts an error; cheap, and never waits. */
  note(event: ServerError): void
  /** Writes the counts since the last flush. Counts that cannot be written are kept for the next one. */
  flush(): Promise<void>
}

type Count = typeof errorEvents.$inferInsert

/** Counts server errors by hour, code and route, in memory until they are flushed. */
export function createErrorJournal(db: Db, now: () => number = Date.now): ErrorJournal {
  let pending = new Map<string, Count>()

  function add(count: Count): void {
    const key = `${count.hour.getTime()} ${count.code} ${count.route}`
    const known = pending.get(key)
    if (known !== undefined) pending.set(key, { ...count, count: known.count + count.count })
    else if (pending.size < MAX_PENDING) pending.set(key, count)
  }

  /** In the order of the primary key, so that instances writing at the same time cannot deadlock. */
  function take(): Count[] {
    const counts = [...pending].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, count]) => count)
    pending = new Map()
    return counts
  }

  return {
    note({ code, route, requestId }) {
      const at = now()
      add({ hour: new Date(hourOf(at)), code, route, count: 1, lastRequestId: requestId, lastAt: new Date(at) })
    },

    async flush() {
      if (pending.size === 0) return
      const taken = take()
      try {
        await write(db, taken)
      } catch (error) {
        for (const count of [...taken, ...take()]) add(count)
        throw error
      }
    }
  }
}

async function write(db: Db, counts: Count[]): Promise<void> {
  await db
    .insert(errorEvents)
    .values(counts)
    .onConflictDoUpdate({
      target: [errorEvents.hour, errorEvents.code, errorEvents.route],
      set: {
        count: sql`${errorEvents.count} + excluded.count`,
        lastRequestId: sql`case when excluded.last_at >= ${errorEvents.lastAt} then excluded.last_request_id else ${errorEvents.lastRequestId} end`,
        lastAt: sql`greatest(${errorEvents.lastAt}, excluded.last_at)`
      }
    })
}

export interface ErrorFilters {
  code?: string
  /** Method and pattern. */
  route?: string
  /** From the hour of this instant on. */
  since?: Date
  /** Exclusive. */
  until?: Date
}

/** Server errors by hour, code and route, the latest hour first. */
export async function listErrors(db: Db, filters: ErrorFilters, { limit = DEFAULT_LIMIT, cursor }: PageRequest) {
  const { code, route, since, until } = filters
  const rows = await db
    .select()
    .from(errorEvents)
    .where(
      and(
        code === undefined ? undefined : eq(errorEvents.code, code),
        route === undefined ? undefined : eq(errorEvents.route, route),
        since && gte(errorEvents.hour, new Date(hourOf(since.getTime()))),
        until && lt(errorEvents.hour, until),
        isAfter(cursor)
      )
    )
    .orderBy(desc(errorEvents.hour), asc(errorEvents.code), asc(errorEvents.route))
    .limit(limit + 1)
  return cutPage(rows, limit, row => `${row.hour.getTime() / HOUR}.${row.code}.${encodeURIComponent(row.route)}`)
}

const POSITION = /^(\d{1,7})\.(\w{1,50})\.([^.]\S*)$/

/** The condition for rows after a cursor; undefined on the first page. */
function isAfter(cursor: string | undefined): SQL | undefined {
  const position = parseNameCursor(cursor)
  if (position === undefined) return undefined
  const [, hour, code, route] = POSITION.exec(position) ?? []
  if (hour === undefined || code === undefined || route === undefined || !isEncoded(route)) throw invalidCursor()
  const at = sql`${new Date(Number(hour) * HOUR).toISOString()}::timestamptz`
  const isLater = sql`(${errorEvents.code}, ${errorEvents.route}) > (${code}, ${decodeURIComponent(route)})`
  return sql`(${errorEvents.hour} < ${at} or (${errorEvents.hour} = ${at} and ${isLater}))`
}

/** Matches what `encodeURIComponent` produces, except NUL, which PostgreSQL rejects. */
function isEncoded(text: string): boolean {
  return /^(?:[^%]|%(?!00)[0-7][0-9A-F])*$/.test(text)
}

function hourOf(instant: number): number {
  return instant - (instant % HOUR)
}
