import { sql } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import type { CacheBus } from './bus.ts'

const CHANNEL = 'rhone_cache'
/** PostgreSQL accepts notifications of less than 8000 bytes. */
const MAX_PAYLOAD = 7_900

/** Sends invalidations with NOTIFY, to any number of instances on one database. */
export function postgresCacheBus(app: FastifyInstance): CacheBus {
  return {
    async publish(cache, key) {
      const payload = JSON.stringify(key === undefined ? [cache] : [cache, key])
      // A key too long for a notification invalidates all keys.
      const told = Buffer.byteLength(payload) > MAX_PAYLOAD ? JSON.stringify([cache]) : payload
      await app.db.execute(sql`select pg_notify(${CHANNEL}, ${told})`)
    },
    subscribe: (onInvalidated, onGap) =>
      app.postgres.listen(
        CHANNEL,
        payload => {
          const [cache, key] = JSON.parse(payload) as [string, string?]
          onInvalidated(cache, key)
        },
        onGap
      )
  }
}
