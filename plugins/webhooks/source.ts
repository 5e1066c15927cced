import type { IncomingHttpHeaders } from 'node:http'
import type { AppError } from '../lib/errors.ts'

/** A service that sends events. */
export interface WebhookSource {
  /** Identifies its route, deliveries and metrics; lower-case letters. */
  readonly name: string
  /** False while there is no secret to verify deliveries with; all are refused then. */
  readonly isConfigured: boolean
  /** Whether the headers are those of a signed delivery; other bodies are not read. */
  isSigned(headers: IncomingHttpHeaders): boolean
  /** @param body the signed bytes, as received */
  verify(headers: IncomingHttpHeaders, body: Buffer): VerifiedDelivery | RefusedDelivery
}

/** A delivery whose signature is valid. */
export interface VerifiedDelivery {
  /** Stays the same on redelivery. */
  readonly deliveryId: string
  readonly event: string
  /** The account that caused the event, as the source names it; the rate limit's key. */
  readonly account: string
}

export interface RefusedDelivery {
  /** `invalid_signature`: the sender is unknown. `malformed`: sent by the source, but not in the expected form. */
  readonly outcome: 'invalid_signature' | 'malformed'
  readonly error: AppError
}

/** A stored delivery. */
export interface Delivery {
  readonly source: string
  readonly deliveryId: string
  readonly event: string
  /** The body, byte for byte. */
  readonly payload: Buffer
}

/** Stores deliveries until they are processed. */
export interface DeliveryStore {
  /**
   * Stores a delivery and schedules its processing, atomically.
   *
   * @returns `known` if it was stored before
   * @throws if it could not be stored; the sender then has to deliver it again
   */
  keep(delivery: Delivery): Promise<'new' | 'known'>
}
