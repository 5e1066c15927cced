import type { Readable } from 'node:stream'
import { AppError, errors } from '../lib/errors.ts'

export interface BodyRoomSettings {
  /** The longest body, in bytes. */
  readonly bodyLimit: number
  /** Bytes of all bodies together that are held at once. */
  readonly bytesInFlight: number
  /** Milliseconds in which a body has to arrive. */
  readonly bodyTimeout: number
  /** Seconds after which a sender may come again who found no room. */
  readonly retryAfter: number
}

/** What one request holds of the room. */
export class HeldBody {
  readonly address: string
  bytes = 0
  /** Ends the reading; null when the body is not arriving. */
  giveWay: ((error: AppError) => void) | null = null

  constructor(address: string) {
    this.address = address
  }
}

/** What the requests of one address hold together. */
interface Share {
  bytes: number
  readonly bodies: Set<HeldBody>
}

/**
 * Room of limited size for bodies. What counts is what has arrived, whatever was announced: a sender who announces much
 * and sends nothing takes no room from others, nor does anybody get more of it by announcing nothing.
 *
 * When the room is full, the address that holds most of it gives way to one that holds less: its longest body that is
 * still arriving is put off. So no address keeps others out, and one that is alone may have all of the room.
 */
export class BodyRoom {
  readonly #settings: BodyRoomSettings
  readonly #shares = new Map<string, Share>()
  #total = 0

  constructor(settings: BodyRoomSettings) {
    this.#settings = settings
  }

  /**
   * Reads a body to its end.
   *
   * @param announced the length that it is said to have; 0 when none is said
   * @param held notes what {@link release} has to give back, whatever comes of the body
   * @throws AppError when the body is too long, finds no room, takes too long or breaks off
   */
  async read(payload: Readable, announced: number, held: HeldBody): Promise<Buffer> {
    this.#refuseTooLong(announced)
    if (this.#free < announced && this.#largestShare(held, 0) === undefined) throw this.#noRoom()
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
    const chunks: Buffer[] = []
    const timer = setTimeout(() => reject(tooSlow()), this.#settings.bodyTimeout)
    held.giveWay = error => {
      chunks.length = 0
      this.release(held)
      reject(error)
    }
    const take = (chunk: Buffer) => {
      if (held.giveWay === null) return
      try {
        this.#add(held, chunk.length)
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
      held.giveWay = null
      clearTimeout(timer)
      payload.off('data', take).pause()
    }
  }

  release(held: HeldBody): void {
    held.giveWay = null
    const share = this.#shares.get(held.address)
    if (share?.bodies.delete(held) !== true) return
    share.bytes -= held.bytes
    this.#total -= held.bytes
    held.bytes = 0
    if (share.bodies.size === 0) this.#shares.delete(held.address)
  }

  #add(held: HeldBody, more: number): void {
    this.#refuseTooLong(held.bytes + more)
    while (this.#free < more) this.#makeRoom(held, more)
    const share = this.#shares.get(held.address) ?? { bytes: 0, bodies: new Set() }
    this.#shares.set(held.address, share)
    share.bodies.add(held)
    share.bytes += more
    this.#total += more
    held.bytes += more
  }

  get #free(): number {
    return this.#settings.bytesInFlight - this.#total
  }

  #makeRoom(held: HeldBody, more: number): void {
    const arriving = [...(this.#largestShare(held, more)?.bodies ?? [])].filter(({ giveWay }) => giveWay !== null)
    const [largest] = arriving.sort((a, b) => b.bytes - a.bytes)
    if (largest === undefined) throw this.#noRoom()
    largest.giveWay!(this.#noRoom())
  }

  /** The largest share of another address, if it is above what this one would have with some bytes more. */
  #largestShare({ address }: HeldBody, more: number): Share | undefined {
    let bytes = (this.#shares.get(address)?.bytes ?? 0) + more
    let largest: Share | undefined
    for (const [other, share] of this.#shares) {
      if (other === address || share.bytes <= bytes) continue
      bytes = share.bytes
      largest = share
    }
    return largest
  }

  #refuseTooLong(length: number): void {
    if (length > this.#settings.bodyLimit) throw new AppError('PAYLOAD_TOO_LARGE')
  }

  #noRoom(): AppError {
    return errors.unavailable(this.#settings.retryAfter, 'Too many deliveries are on their way')
  }
}

const tooSlow = () =>
  new AppError('BAD_REQUEST', { message: 'The request body did not arrive in time', statusCode: 408 })

const aborted = () => errors.badRequest('The request was aborted')
