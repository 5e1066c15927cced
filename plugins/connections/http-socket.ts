import type { HttpSocket } from '../lib/node-http.ts'

/** `new`: no reply sent yet. `busy`: serving a request. `idle`: kept alive for the next request. */
export const STATES = ['new', 'busy', 'idle'] as const
export type State = (typeof STATES)[number]

export function stateOf(socket: HttpSocket): State {
  if (socket._httpMessage) return 'busy'
  return socket.bytesWritten > 0 ? 'idle' : 'new'
}

/** Bytes handed to the kernel so far, excluding those still queued in the handle. */
export function bytesTaken(socket: HttpSocket): number {
  return (
    (socket._bytesDispatched ?? socket.bytesWritten - socket.writableLength) - (socket._handle?.writeQueueSize ?? 0)
  )
}

/** Whether the current request has been answered but is still arriving. */
export function isTailing({ _httpMessage, parser }: HttpSocket): boolean {
  return !_httpMessage && parser?.incoming?.complete === false
}
