import { sql } from 'drizzle-orm'
import type { fromDrizzle, Db as IDatabase } from 'pg-boss'
import type { Db } from '../lib/own-types.ts'

/** What pg-boss is made to run over instead of connections of its own. */
export type Adapt = typeof fromDrizzle

/** What jobs need of a PostgreSQL beside its queries. */
export interface Postgres {
  /** Runs a text of several statements, which may hold whole transactions. */
  script(text: string): Promise<unknown[]>
  /** `onResync` is called whenever listening begins. @returns ends it */
  listen(channel: string, onNotify: (payload: string) => void, onResync: () => void): Promise<() => Promise<void>>
}

export interface Channel {
  /** The name on which pg-boss notifies of jobs that may be begun; the payload is their queue. */
  onChannel(channel: string): void
  onJobs(queue: string): void
  /** What was notified before this is not known. */
  onResync(): void
}

/** Statements of pg-boss in a transaction of ours, or each by itself. */
export function overDrizzle(db: Db, adapt: Adapt): IDatabase {
  const adapted = adapt(db as Parameters<Adapt>[0], sql as Parameters<Adapt>[1])
  return { executeSql: (text, values) => adapted.executeSql(text, values?.map(encoded)) }
}

/** All of pg-boss over the pool, and its LISTEN over the one connection that listens. */
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

/** What has to be one transaction comes from pg-boss as one text, without parameters. */
const isScript = (text: string): boolean => /^\s*BEGIN;/.test(text)

/** Our driver sends JSON and times as the text that they are given as. Arrays are taken care of by pg-boss's adapter. */
function encoded(value: unknown): unknown {
  if (value instanceof Date) return value.toISOString()
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? JSON.stringify(value) : value
}
