import type { HttpSocket } from '../lib/node-http.ts'
import { isTailing } from './http-socket.ts'

/**
 * Has a connection that ends with its reply stay open for what its client is still sending: to close it then resets it,
 * and with that the client loses what it has not read yet of the reply (RFC 9112, section 9.6). How long that may go on
 * is bounded as on connections that are kept: see the option `tailTimeout`.
 */
export function lingerAtClose(socket: HttpSocket): void {
  // What Node's HTTP server closes a connection with after the last reply.
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
