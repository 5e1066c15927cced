import type { IncomingMessage, Server } from 'node:http'
import { AppError } from '../lib/errors.ts'
import type { HttpSocket } from '../lib/node-http.ts'

/**
 * Bounds how many requests wait behind the one that a connection is busy with. Node reads on while replies are not yet
 * written, and handles all requests of a chunk of 64 KiB in one go: a few thousand, during which nobody else is served.
 *
 * Beyond the bound nothing of the connection is handled any more, and it is closed after the replies that it is owed. The
 * bookkeeping is that of pipelined requests; all others pay for one comparison.
 *
 * @param onExcess called once, when the bound is passed
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

/** Calls back when the connection owes no reply, unless it is gone by then. */
function whenAnswered(socket: HttpSocket, then: () => void): void {
  if (socket._httpMessage) socket._httpMessage.once('close', () => whenAnswered(socket, then))
  else if (!socket.destroyed) then()
}

function tooMany(): AppError {
  return new AppError('RATE_LIMIT', {
    message: 'Too many requests were sent ahead of their replies',
    headers: { 'retry-after': '1' }
  })
}
