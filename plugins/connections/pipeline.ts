import type { IncomingMessage, Server } from 'node:http'
import { AppError } from '../lib/errors.ts'
import type { HttpSocket } from '../lib/node-http.ts'

/**
 * Bounds the number of pipelined requests that wait behind the current one. Node keeps reading while replies are
 * pending, and handles all requests in a 64 KiB chunk at once: a few thousand, which block all other clients meanwhile.
 *
 * Once the limit is exceeded, further requests on the connection are ignored, and it is closed after the outstanding
 * replies. Only pipelined requests pay for the bookkeeping; all others cost one comparison.
 *
 * @param onExcess called once, when the limit is exceeded
 */
export function boundPipelining(server: Server, socket: HttpSocket, limit: number, onExcess: () => void): void {
  const { parser } = socket
  const handle = parser?.onIncoming
  if (!parser || !handle) return

  let waiting: IncomingMessage[] = []
  parser.onIncoming = (request, keepAlive) => {
    const current = socket._httpMessage
    if (current) {
      waiting = waiting.slice(waiting.indexOf(current.req) + 1)
      if (waiting.length >= limit) return excess()
      waiting.push(request)
    } else if (waiting.length > 0) waiting = []
    return handle(request, keepAlive)
  }

  function excess(): number {
    parser!.onIncoming = () => 0
    onExcess()
    whenAnswered(socket, () => server.emit('clientError', tooMany(), socket))
    return 0
  }
}

/** Calls back once no reply is outstanding, unless the connection has been destroyed by then. */
function whenAnswered(socket: HttpSocket, then: () => void): void {
  if (socket._httpMessage) socket._httpMessage.once('close', () => whenAnswered(socket, then))
  else if (!socket.destroyed) then()
}

function tooMany(): AppError {
  return new AppError('RATE_LIMIT', {
    message: 'Too many pipelined requests',
    headers: { 'retry-after': '1' }
  })
}
