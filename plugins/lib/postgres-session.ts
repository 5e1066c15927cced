import { connect, type Socket } from 'node:net'
import postgres, { type Options, type Sql } from 'postgres'
import type { PostgresTarget } from './postgres.ts'

export interface SessionOptions {
  applicationName: string
  /** Seconds until an attempt to connect has failed. */
  connectTimeout: number
  prepare: boolean
  /** Parameters of the session, beside those of the URL: `statement_timeout` and the like. */
  parameters?: Record<string, string | number> | undefined
  /** Statements that may be under way at once. */
  pipeline?: number
  onClose?: () => void
  onNotify?: (channel: string, payload: string) => void
}

export interface Session {
  sql: Sql
  /** Whether the connection is gone, which the driver itself learns a moment later. */
  readonly destroyed: boolean
  /** Drops the connection without a word, for when nothing is heard from the other side. */
  destroy(): void
}

/** Options that postgres.js has and its types have not. */
interface UntypedOptions {
  socket: () => Socket
  max_pipeline?: number | undefined
  onnotify?: (channel: string, payload: string) => void
}

/**
 * A postgres.js client that is good for one connection, and ends with it.
 *
 * Left to itself, the driver goes on in a new connection with whatever the old one has left in its buffers: a session's
 * locks and transactions are silently gone, a statement of a broken transaction runs outside of it, a half-written
 * packet keeps the new connection from starting, and a server that accepts and hangs up is dialled in a tight loop. Here
 * a second attempt to connect fails, so whoever needs another connection opens another session.
 */
export function openSession(target: PostgresTarget, options: SessionOptions): Session {
  let socket: Socket | undefined
  const dialOnce = () => {
    if (socket !== undefined) throw connectionClosed()
    socket = dial(target)
    return socket
  }
  const driverOptions: Options<Record<string, never>> & UntypedOptions = {
    ...target,
    socket: dialOnce,
    max: 1,
    prepare: options.prepare,
    max_pipeline: options.pipeline,
    connect_timeout: options.connectTimeout,
    idle_timeout: undefined,
    max_lifetime: null,
    // It would cost a catalogue query per connection, and kill the process if that one fails.
    fetch_types: false,
    onnotice: () => {},
    onclose: options.onClose,
    onnotify: options.onNotify,
    connection: { application_name: options.applicationName, ...options.parameters, ...target.connection }
  }
  return {
    sql: postgres(driverOptions),
    get destroyed() {
      return socket?.destroyed ?? false
    },
    destroy: () => socket?.destroy()
  }
}

/** Runs a statement, and gives the session up when there is no answer in time: a peer may vanish without a word. */
export function ask(session: Session, statement: string, timeoutMs: number): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const deadline = setTimeout(() => {
      session.destroy()
      reject(
        Object.assign(new Error(`the database has not answered within ${timeoutMs} ms`), { code: 'CONNECT_TIMEOUT' })
      )
    }, timeoutMs)
    session.sql
      .unsafe(statement)
      .then(resolve, reject)
      .finally(() => clearTimeout(deadline))
  })
}

export function connectionClosed(): Error {
  return Object.assign(new Error('the connection to the database was closed'), { code: 'CONNECTION_CLOSED' })
}

function dial({ host, port, path }: PostgresTarget): Socket {
  const liveness = { keepAlive: true, keepAliveInitialDelay: 10_000, noDelay: true }
  const socket = connect(path === undefined ? { host, port, ...liveness } : { path })
  // The driver reads the host for TLS, and both for its error messages.
  return Object.assign(socket, { host, port })
}
