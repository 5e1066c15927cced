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
 * Makes the bytes of a body, of whatever type, the `request.body` of all routes of a scope. They keep their place in the
 * room until the reply is sent or the connection lost.
 *
 * @param addressOf whose share of the room a body takes
 * @param onRefused told of bodies that were not read to their end
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

/** 0 when the request does not say how long its body is. */
export function announcedLength({ headers }: FastifyRequest): number {
  return Number(headers['content-length'] ?? 0)
}
