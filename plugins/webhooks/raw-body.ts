import type { Readable } from 'node:stream'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { AppError, errors } from '../lib/errors.ts'

export interface RawBodySettings {
  /** The longest body, in bytes. */
  readonly bodyLimit: number
  /** Bytes of all bodies together that are held at once. */
  readonly bytesInFlight: number
  /** Milliseconds in which a body has to arrive. */
  readonly bodyTimeout: number
  /** Seconds after which somebody may come again who found no room. */
  readonly retryAfter: number
}

/** What one request holds of the room. */
interface Held {
  bytes: number
}

const kHeld = Symbol('rhone.webhooks.held')

declare module 'fastify' {
  interface FastifyRequest {
    [kHeld]: Held | null
  }
}

/**
 * Room of limited size for bodies. What counts is what has arrived, whatever was announced: somebody who announces much
 * and sends nothing takes no room from others, nor does anybody get more of it by announcing nothing.
 */
export class BodyRoom {
  readonly #settings: RawBodySettings
  #held = 0

  constructor(settings: RawBodySettings) {
    this.#settings = settings
  }

  /**
   * Reads a body to its end.
   *
   * @param announced the length that it is said to have; 0 when none is said
   * @param held where to note what has to be given back by {@link release}, whatever comes of it
   * @throws AppError when the body is too long, finds no room, takes too long or breaks off
   */
  async read(payload: Readable, announced: number, held: Held): Promise<Buffer> {
    this.#makeSure(announced, announced)
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
    const chunks: Buffer[] = []
    const timer = setTimeout(() => reject(tooSlow()), this.#settings.bodyTimeout)

    const take = (chunk: Buffer) => {
      try {
        this.#makeSure(held.bytes + chunk.length, chunk.length)
        this.#held += chunk.length
        held.bytes += chunk.length
        chunks.push(chunk)
      } catch (error) {
        reject(error)
      }
    }
    payload.on('data', take)
    payload.on('end', () => resolve(Buffer.concat(chunks, held.bytes)))
    payload.on('error', () => reject(aborted()))
    payload.on('close', () => reject(aborted()))
    try {
      return await promise
    } finally {
      clearTimeout(timer)
      payload.off('data', take).pause()
    }
  }

  release(held: Held): void {
    this.#held -= held.bytes
    held.bytes = 0
  }

  #makeSure(length: number, more: number): void {
    const { bodyLimit, bytesInFlight, retryAfter } = this.#settings
    if (length > bodyLimit) throw new AppError('PAYLOAD_TOO_LARGE')
    if (this.#held + more > bytesInFlight) throw errors.unavailable(retryAfter, 'Too many deliveries are on their way')
  }
}

/**
 * Makes the bytes of a body, of whatever type, the `request.body` of all routes of a scope. They keep their place in the
 * room until the reply is sent or the connection lost.
 *
 * @param onRefused told of bodies that were not read to their end
 */
export function takeRawBodies(scope: FastifyInstance, room: BodyRoom, onRefused: (error: AppError) => void): void {
  scope.removeAllContentTypeParsers()
  scope.decorateRequest(kHeld, null)
  scope.addHook('onRequest', (request, reply, next) => {
    const held = { bytes: 0 }
    request[kHeld] = held
    reply.raw.once('close', () => room.release(held))
    next()
  })
  scope.addContentTypeParser('*', async (request: FastifyRequest, payload: Readable) => {
    try {
      return await room.read(payload, Number(request.headers['content-length'] ?? 0), request[kHeld]!)
    } catch (error) {
      onRefused(error as AppError)
      throw error
    }
  })
}

const tooSlow = () =>
  new AppError('BAD_REQUEST', { message: 'The request body did not arrive in time', statusCode: 408 })

const aborted = () => errors.badRequest('The request was aborted')
