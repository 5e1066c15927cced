import type { HttpSocket } from '../lib/node-http.ts'
import { isTailing } from './http-socket.ts'

/**
 * Delays the close after a final reply while the client is still sending its request. Closing earlier would reset the
 * connection, and the client could lose the unread part of the reply (RFC 9112, section 9.6). `tailTimeout` bounds the
 * delay, as it does on keep-alive connections.
 */
export function lingerAtClose(socket: HttpSocket): void {
  // Node's HTTP server calls this to close a connection after the last reply.
  const close = socket.destroySoon
  socket.destroySoon = () => {
    if (!isTailing(socket)) {
      close.call(socket)
      return
    }
    socket.end()
    socket.parser!.incoming!.once('end', () => close.call(socket))
  }
}
