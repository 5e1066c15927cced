import type { IncomingMessage, ServerResponse } from 'node:http'

/** Milliseconds of silence after which a client is taken to have said all that it will. */
const SILENCE = 2_000

/**
 * Ends a reply, and no sooner than its request if the connection is closed behind it: to close it under a client that is
 * still sending resets it, and with that the client loses what it has not read yet of the reply.
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
