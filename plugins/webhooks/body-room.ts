import type { Readable } from 'node:stream'
import { AppError, errors } from '../lib/errors.ts'

export interface BodyRoomSettings {
  /** Maximum body size in bytes. */
  readonly bodyLimit: number
  /** Maximum total bytes of all bodies held at once. */
  readonly bytesInFlight: number
  /** Milliseconds within which a body has to arrive. */
  readonly bodyTimeout: number
  /** Seconds after which a sender may retry if there was no room. */
  readonly retryAfter: number
}

/** The bytes that one request holds. */
export class HeldBody {
  readonly address: string
  bytes = 0
  /** Aborts the read; null when the body is not arriving. */
  giveWay: ((error: AppError) => void) | null = null

  constructor(address: string) {
    this.address = address
  }
}

/** The bytes that all requests of one address hold. */
interface Share {
  bytes: number
  readonly bodies: Set<HeldBody>
}

/**
 * A bounded buffer for request bodies. Only bytes that have arrived count, not the announced length: announcing a large
 * body without sending it takes no room from others, and announcing nothing gains none.
 *
 * When the room is full, the address that holds most yields to one that holds less: its largest body still arriving is
 * refused. So no address can lock others out, and a single address may use the whole room.
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
   * @param announced the announced length; 0 if there is none
   * @param held records what {@link release} has to give back, whether or not the read succeeds
   * @throws AppError when the body is too long, finds no room, takes too long or is aborted
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

  /** The largest share of another address, if it exceeds what this address would hold with `more` bytes. */
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
    return errors.unavailable(this.#settings.retryAfter, 'Too many concurrent deliveries')
  }
}

const tooSlow = () =>
  new AppError('BAD_REQUEST', { message: 'The request body did not arrive in time', statusCode: 408 })

const aborted = () => errors.badRequest('The request was aborted')
