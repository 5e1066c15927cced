import type { IncomingMessage, ServerResponse } from 'node:http'

/** Milliseconds of silence after which a client is considered done sending. */
const SILENCE = 2_000

/**
 * Ends a reply. If the connection closes after it, waits for the end of the request first: closing it while the client
 * is still sending resets the connection, and the client loses the unread part of the reply.
 */
export function endReply(request: IncomingMessage, response: ServerResponse): void {
  if (response.shouldKeepAlive || request.complete) {
    response.end()
    return
  }
  const end = () => response.end()
  const silence = setTimeout(end, SILENCE)
  request.on('data', () => silence.refresh())
  request.once('end', end)
  response.once('close', () => clearTimeout(silence))
}
