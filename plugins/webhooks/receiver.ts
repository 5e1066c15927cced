import type { FastifyReply, FastifyRequest } from 'fastify'
import { type AppError, errors } from '../lib/errors.ts'
import type { DeliveryLimits } from './limits.ts'
import { announcedLength } from './raw-body.ts'
import type { DeliveryStore, VerifiedDelivery, WebhookSource } from './source.ts'

/** Outcomes of a delivery, first on receipt and then on processing. */
export const WEBHOOK_OUTCOMES = [
  'accepted',
  'duplicate',
  'invalid_signature',
  'malformed',
  'limited',
  'not_kept',
  'processed',
  'ignored',
  'failed'
] as const
export type WebhookOutcome = (typeof WEBHOOK_OUTCOMES)[number]

export interface ReceiverSettings {
  readonly source: WebhookSource
  readonly store: DeliveryStore | undefined
  readonly limits: DeliveryLimits
  /** Size in bytes from which a body is counted before it is read. */
  readonly shortBody: number
  readonly count: (outcome: WebhookOutcome) => void
}

/** The reply to a stored delivery. */
export interface Receipt {
  accepted: true
  duplicate: boolean
}

const EMPTY = Buffer.alloc(0)

/** Receives the deliveries of one source. */
export class Receiver {
  readonly #settings: ReceiverSettings

  constructor(settings: ReceiverSettings) {
    this.#settings = settings
  }

  /** Refuses requests that cannot be deliveries before their body is read. */
  async screen(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const { source, store, limits } = this.#settings
    if (!source.isConfigured || store === undefined)
      throw (await limits.stranger(request, reply)) ?? errors.notConfigured(`The webhook of ${source.name}`)
    if (!source.isSigned(request.headers)) await this.#verify(request, reply, EMPTY)
    // The signature cannot be checked until the body has arrived, so a long body counts as a stranger's until then.
    if (!this.#isShort(request)) await this.#countStranger(request, reply)
  }

  /** Counts a body that was not read to the end. */
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

  /** @throws AppError if the delivery is not stored, for any reason */
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

  /** Once a stranger's quota is exhausted, the reply no longer reveals that the signature is wrong. */
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
