import type { IncomingHttpHeaders } from 'node:http'
import type { AppError } from '../lib/errors.ts'

/** A service that tells us of events. */
export interface WebhookSource {
  /** Names its route, its deliveries and its metrics: lower-case letters. */
  readonly name: string
  /** False: there is no secret to know its deliveries by, and none is taken. */
  readonly isConfigured: boolean
  /** Whether the headers are those of a signed delivery; the body of any other is not worth reading. */
  isSigned(headers: IncomingHttpHeaders): boolean
  /** @param body the bytes that were signed, as they came */
  verify(headers: IncomingHttpHeaders, body: Buffer): VerifiedDelivery | RefusedDelivery
}

/** A delivery that comes from the source. */
export interface VerifiedDelivery {
  /** The same whenever it is delivered again. */
  readonly deliveryId: string
  readonly event: string
  /** Who has caused it, by the source's name for them: what its rate is limited by. */
  readonly account: string
}

export interface RefusedDelivery {
  /** `invalid_signature`: anybody may have sent it. `malformed`: the source has, but not as it should. */
  readonly outcome: 'invalid_signature' | 'malformed'
  readonly error: AppError
}

/** A delivery as it is kept. */
export interface Delivery {
  readonly source: string
  readonly deliveryId: string
  readonly event: string
  /** The body, byte for byte. */
  readonly payload: Buffer
}

/** Where deliveries are kept until something is done about them. */
export interface DeliveryStore {
  /**
   * Keeps a delivery and sees to it that it will be processed: both or neither.
   *
   * @returns `known` when it was kept before
   * @throws when it is not kept; the sender then has to deliver it again
   */
  keep(delivery: Delivery): Promise<'new' | 'known'>
}
