import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** What Node's HTTP server keeps at a socket. These names are not documented, and as old as the module. */
export interface HttpSocket extends Socket {
  /** The response that the socket is busy with; those to pipelined requests wait behind it. */
  readonly _httpMessage?: ServerResponse | null
  readonly parser?: HttpParser | null
  /** The TCP socket beneath one of TLS. */
  readonly _parent?: Socket | null
  readonly _handle?: { readonly writeQueueSize?: number } | null
  /** Bytes handed to the system's side of Node, sent or not. */
  readonly _bytesDispatched?: number
}

export interface HttpParser {
  /** The request that was read last, or whose body is being read. */
  readonly incoming?: IncomingMessage | null
  /** Called with each request, once its head has been read. */
  onIncoming?: ((request: IncomingMessage, keepAlive: boolean) => number) | null
}

/** `new`: has never been answered. `busy`: a request is being served. `idle`: is kept for the next request. */
export const STATES = ['new', 'busy', 'idle'] as const
export type State = (typeof STATES)[number]

export function stateOf(socket: HttpSocket): State {
  if (socket._httpMessage) return 'busy'
  return socket.bytesWritten > 0 ? 'idle' : 'new'
}

/** Bytes that the client's side has taken so far. */
export function bytesTaken(socket: HttpSocket): number {
  return (socket._bytesDispatched ?? socket.bytesWritten) - (socket._handle?.writeQueueSize ?? 0)
}

/** Whether a request is still arriving that has been answered already. */
export function isTailing({ _httpMessage, parser }: HttpSocket): boolean {
  return !_httpMessage && parser?.incoming?.complete === false
}
