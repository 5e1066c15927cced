import type { FastifyReply, FastifyRequest } from 'fastify'
import { type AppError, errors } from '../lib/errors.ts'
import type { DeliveryLimits } from './limits.ts'
import { announcedLength } from './raw-body.ts'
import type { DeliveryStore, VerifiedDelivery, WebhookSource } from './source.ts'

/** What comes of deliveries: first when they come, then when they are processed. */
export type WebhookOutcome =
  | 'accepted'
  | 'duplicate'
  | 'invalid_signature'
  | 'malformed'
  | 'limited'
  | 'not_kept'
  | 'processed'
  | 'ignored'
  | 'failed'

export interface ReceiverSettings {
  readonly source: WebhookSource
  readonly store: DeliveryStore | undefined
  readonly limits: DeliveryLimits
  /** Bytes from which a body is counted before it is read. */
  readonly shortBody: number
  readonly count: (outcome: WebhookOutcome) => void
}

/** What is answered to a delivery that is kept. */
export interface Receipt {
  accepted: true
  duplicate: boolean
}

const EMPTY = Buffer.alloc(0)

/** Takes the deliveries of one source. */
export class Receiver {
  readonly #settings: ReceiverSettings

  constructor(settings: ReceiverSettings) {
    this.#settings = settings
  }

  /** Refuses, before any of its body is read, what can be no delivery. */
  async screen(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const { source, store, limits } = this.#settings
    if (!source.isConfigured || store === undefined)
      throw (await limits.stranger(request, reply)) ?? errors.notConfigured(`The webhook of ${source.name}`)
    if (!source.isSigned(request.headers)) await this.#verify(request, reply, EMPTY)
    // A signature has not been checked before its body has come, so until then a long body is a stranger's.
    if (!this.#isShort(request)) await this.#countStranger(request, reply)
  }

  /** Counts a body that did not come to its end. */
  async bodyRefused(request: FastifyRequest, reply: FastifyReply, { statusCode }: AppError): Promise<void> {
    const isOurs = statusCode >= 500
    this.#settings.count(isOurs ? 'not_kept' : 'malformed')
    if (!isOurs) await this.#settings.limits.stranger(request, reply)
  }

  #isShort(request: FastifyRequest): boolean {
    const length = announcedLength(request)
    return length < this.#settings.shortBody && (length > 0 || request.headers['transfer-encoding'] === undefined)
  }

  async #countStranger(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const refusal = await this.#settings.limits.stranger(request, reply)
    if (refusal === undefined) return
    this.#settings.count('limited')
    throw refusal
  }

  /** @throws AppError when the delivery is not kept, for whatever reason */
  async receive(request: FastifyRequest, reply: FastifyReply): Promise<Receipt> {
    const { source, count } = this.#settings
    const payload = Buffer.isBuffer(request.body) ? request.body : EMPTY
    const { deliveryId, event, account } = await this.#verify(request, reply, payload)
    await this.#settings.limits.forgive(request)
    await this.#limit(request, reply, account)
    const kept = await this.#keep({ source: source.name, deliveryId, event, payload })
    count(kept === 'new' ? 'accepted' : 'duplicate')
    return { accepted: true, duplicate: kept === 'known' }
  }

  /** Once a stranger's quota is used up, they are not even told that their signatures are wrong. */
  async #verify(request: FastifyRequest, reply: FastifyReply, payload: Buffer): Promise<VerifiedDelivery> {
    const { source, limits, count } = this.#settings
    const verdict = source.verify(request.headers, payload)
    if (!('error' in verdict)) return verdict
    count(verdict.outcome)
    const isStranger = verdict.outcome === 'invalid_signature'
    throw (isStranger && (await limits.stranger(request, reply))) || verdict.error
  }

  async #limit(request: FastifyRequest, reply: FastifyReply, account: string): Promise<void> {
    const { source, limits, count } = this.#settings
    const refusal: AppError | undefined = await limits.account(request, reply, `${source.name} ${account}`)
    if (refusal === undefined) return
    count('limited')
    throw refusal
  }

  async #keep(delivery: Parameters<DeliveryStore['keep']>[0]): Promise<'new' | 'known'> {
    const { store, count } = this.#settings
    try {
      return await store!.keep(delivery)
    } catch (error) {
      count('not_kept')
      throw error
    }
  }
}
