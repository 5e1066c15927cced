import { connect, type Socket } from 'node:net'
import postgres, { type Options, type Sql } from 'postgres'
import type { PostgresTarget } from './postgres.ts'

export interface SessionOptions {
  applicationName: string
  /** Connection timeout in seconds. */
  connectTimeout: number
  prepare: boolean
  /** Session parameters in addition to those of the URL, such as `statement_timeout`. */
  parameters?: Record<string, string | number> | undefined
  /** Maximum number of statements in flight. */
  pipeline?: number
  onClose?: () => void
  onNotify?: (channel: string, payload: string) => void
}

export interface Session {
  sql: Sql
  /** Whether the connection is gone; the driver notices slightly later. */
  readonly destroyed: boolean
  /** Drops the connection without a closing handshake, for when the peer does not respond. */
  destroy(): void
  /** Resumes reading: the driver pauses the connection while a COPY is read slowly, and leaves it paused at the end. */
  resume(): void
}

/** Options of postgres.js that are missing from its types. */
interface UntypedOptions {
  socket: () => Socket
  max_pipeline?: number | undefined
  onnotify?: (channel: string, payload: string) => void
}

/**
 * A postgres.js client limited to one connection; it ends with that connection.
 *
 * By default the driver reconnects and continues with what the old connection left in its buffers: session locks and
 * transactions are silently lost, a statement of a broken transaction runs outside of it, a half-written packet keeps
 * the new connection from starting, and a server that accepts and hangs up is dialled in a tight loop. Here a second
 * connection attempt fails; open a new session to get a new connection.
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
    // Otherwise each connection costs a catalogue query, and the process dies if that query fails.
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
    destroy: () => void socket?.destroy(),
    resume: () => void socket?.resume()
  }
}

/** Runs a statement, and destroys the session if there is no answer in time: a peer may vanish silently. */
export function ask(session: Session, statement: string, timeoutMs: number): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const deadline = setTimeout(() => {
      session.destroy()
      reject(
        Object.assign(new Error(`the database did not answer within ${timeoutMs} ms`), { code: 'CONNECT_TIMEOUT' })
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
