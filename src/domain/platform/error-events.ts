import { sql } from 'drizzle-orm'
import { errorEvents } from '../../../drizzle/schema.ts'
import type { Db } from '../base/db.ts'

const HOUR = 60 * 60 * 1000
const MAX_PENDING = 1_000

/** A server error, as the operators' dashboard counts it. */
export interface ServerError {
  code: string
  /** The route's pattern, never its URL. */
  route: string
  requestId: string
}

export interface ErrorJournal {
  /** Counts an error; cheap, and never waits. */
  note(event: ServerError): void
  /** Writes what was counted since the last time. What could not be written is kept for the next. */
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

  /** In the order of the primary key, so that instances which write at the same time cannot deadlock. */
  function take(): Count[] {
    const counts = [...pending].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, count]) => count)
    pending = new Map()
    return counts
  }

  return {
    note({ code, route, requestId }) {
      const at = now()
      add({ hour: new Date(at - (at % HOUR)), code, route, count: 1, lastRequestId: requestId, lastAt: new Date(at) })
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
