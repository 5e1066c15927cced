import type { HttpSocket } from '../lib/node-http.ts'

/** `new`: has never been answered. `busy`: a request is being served. `idle`: is kept for the next request. */
export const STATES = ['new', 'busy', 'idle'] as const
export type State = (typeof STATES)[number]

export function stateOf(socket: HttpSocket): State {
  if (socket._httpMessage) return 'busy'
  return socket.bytesWritten > 0 ? 'idle' : 'new'
}

/** Bytes that the client's side has taken so far. */
export function bytesTaken(socket: HttpSocket): number {
  return (
    (socket._bytesDispatched ?? socket.bytesWritten - socket.writableLength) - (socket._handle?.writeQueueSize ?? 0)
  )
}

/** Whether a request is still arriving that has been answered already. */
export function isTailing({ _httpMessage, parser }: HttpSocket): boolean {
  return !_httpMessage && parser?.incoming?.complete === false
}
