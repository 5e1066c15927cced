import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'

/**
 * Sends text as it is made. Its first part is made before the reply begins, so that what cannot be read at all is an error
 * as any other; what breaks later ends the connection, so that no client takes a part for the whole.
 */
export async function sendText(reply: FastifyReply, contentType: string, parts: AsyncGenerator<string>) {
  const first = await parts.next()
  return reply.type(contentType).send(Readable.from(rejoin(first, parts)))
}

async function* rejoin(first: IteratorResult<string>, rest: AsyncGenerator<string>): AsyncGenerator<string> {
  if (first.done) return
  yield first.value
  yield* rest
}
