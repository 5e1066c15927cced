import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'

/**
 * Sends text as it is generated. The first part is generated before the reply begins, so that a failure there is an
 * ordinary error; a later failure closes the connection, so that no client mistakes a part for the whole.
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
