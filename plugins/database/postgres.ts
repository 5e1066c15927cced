import type { Db } from '../lib/own-types.ts'
import type { PostgresTarget } from '../lib/postgres.ts'
import type { DatabaseState } from './availability.ts'
import type { Copies } from './copies.ts'
import type { PoolStats } from './port.ts'

/** What an app with a database has besides the query handle. */
export interface Postgres {
  /**
   * For selects that change nothing, not even through a function they call, and that may run twice. Concurrent reads
   * share a connection; a read that waits behind a slow one also runs on another. In `app.db`, every statement runs
   * once, on a connection of its own.
   */
  readonly reads: Db
  /** The other copies of the database; absent unless `url` names several hosts or there is a `replicaUrl`. */
  readonly copies?: Copies
  /**
   * The server to write to, bypassing any pooler, for code that keeps a connection of its own.
   * @throws Error that says why there is none at present
   */
  locate(): Promise<PostgresTarget>
  /** Pings the database over a separate connection, so no query delays the answer. Rejects if none comes in time. */
  ping(timeoutMs: number): Promise<DatabaseState>
  /**
   * Calls `onNotify` for every NOTIFY on the channel. `onResync` is called whenever listening starts, also after a lost
   * connection; `onLost` when the connection is lost; `onAlive` every few seconds in between, with a time, as
   * `performance.now()`, up to which all has been notified. Returns immediately, even if the database is down.
   * @returns a function that ends the subscription
   */
  listen(
    channel: string,
    onNotify: (payload: string) => void,
    onResync: () => void,
    onLost?: () => void,
    onAlive?: (at: number) => void
  ): Promise<() => Promise<void>>
  /**
   * Runs a text of several statements, which may contain whole transactions, over one pooled connection. The text takes
   * no parameters, so it must contain nothing that a client sent.
   * @returns the rows of all statements
   */
  script(text: string): Promise<unknown[]>
  /**
   * Checks that a URL with other credentials opens this same database.
   *
   * @throws Error that says why it does not
   */
  tryCredentials(url: string): Promise<void>
  /** Uses these credentials for all new connections, and retires the others without interrupting their work. */
  useCredentials(url: string, directUrl: string, replicaUrl?: string): void
  /**
   * Calls back when credentials change or another host becomes the primary, for code that keeps connections of its own.
   * @returns a function that unsubscribes
   */
  onCredentials(callback: () => void): () => void
  readonly stats: PoolStats
}
