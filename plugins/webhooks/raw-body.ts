import type { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { AppError } from '../lib/errors.ts'
import { type BodyRoom, HeldBody } from './body-room.ts'

const kArrival = Symbol('rhone.webhooks.arrival')

declare module 'fastify' {
  interface FastifyRequest {
    [kArrival]: { readonly held: HeldBody; readonly reply: FastifyReply } | null
  }
}

/**
 * Sets `request.body` to the raw bytes on all routes of a scope, whatever the content type. The bytes count against the
 * room until the reply is sent or the connection is lost.
 *
 * @param addressOf the address whose share of the room a body counts against
 * @param onRefused called for bodies that were not read to the end
 */
export function takeRawBodies(
  scope: FastifyInstance,
  room: BodyRoom,
  addressOf: (request: FastifyRequest) => string,
  onRefused: (request: FastifyRequest, reply: FastifyReply, error: AppError) => Promise<void>
): void {
  scope.removeAllContentTypeParsers()
  scope.decorateRequest(kArrival, null)
  scope.addHook('onRequest', (request, reply, next) => {
    const held = new HeldBody(addressOf(request))
    request[kArrival] = { held, reply }
    reply.raw.once('close', () => room.release(held))
    next()
  })
  scope.addContentTypeParser('*', async (request: FastifyRequest, payload: Readable) => {
    const { held, reply } = request[kArrival]!
    try {
      return await room.read(payload, announcedLength(request), held)
    } catch (error) {
      await onRefused(request, reply, error as AppError)
      throw error
    }
  })
}

/** The announced body length; 0 without `Content-Length`. */
export function announcedLength({ headers }: FastifyRequest): number {
  return Number(headers['content-length'] ?? 0)
}
