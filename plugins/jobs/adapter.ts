import { sql } from 'drizzle-orm'
import type { fromDrizzle, Db as IDatabase } from 'pg-boss'
import type { Db } from '../lib/own-types.ts'

/** pg-boss's adapter, which runs it over drizzle instead of its own connections. */
export type Adapt = typeof fromDrizzle

/** What jobs need from PostgreSQL besides queries. */
export interface Postgres {
  /** Runs a text of several statements, which may contain whole transactions. */
  script(text: string): Promise<unknown[]>
  /** Calls `onResync` whenever listening starts. @returns a function that ends it */
  listen(channel: string, onNotify: (payload: string) => void, onResync: () => void): Promise<() => Promise<void>>
}

export interface Channel {
  /** Receives the channel on which pg-boss announces jobs that are ready; the payload is their queue. */
  onChannel(channel: string): void
  onJobs(queue: string): void
  /** Earlier notifications may have been missed. */
  onResync(): void
}

/** Runs statements of pg-boss in a transaction of ours, or each by itself. */
export function overDrizzle(db: Db, adapt: Adapt): IDatabase {
  const adapted = adapt(db as Parameters<Adapt>[0], sql as Parameters<Adapt>[1])
  return { executeSql: (text, values) => adapted.executeSql(text, values?.map(encoded)) }
}

/** Runs all of pg-boss over the pool, and its LISTEN over the one connection that listens. */
export function overPool(db: Db, postgres: Postgres, adapt: Adapt, channel: Channel): IDatabase {
  const single = overDrizzle(db, adapt)
  return {
    async executeSql(text, values) {
      return isScript(text) ? { rows: await postgres.script(text) } : single.executeSql(text, values)
    },
    async listen(name, onNotification, onReconnect) {
      channel.onChannel(name)
      const close = await postgres.listen(
        name,
        queue => {
          onNotification(queue)
          channel.onJobs(queue)
        },
        () => {
          onReconnect()
          channel.onResync()
        }
      )
      return { close }
    }
  }
}

/** pg-boss sends what must be one transaction as one text, without parameters. */
const isScript = (text: string): boolean => /^\s*BEGIN;/.test(text)

/** Our driver sends JSON and timestamps as the text it is given. pg-boss's adapter handles arrays. */
function encoded(value: unknown): unknown {
  if (value instanceof Date) return value.toISOString()
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? JSON.stringify(value) : value
}
