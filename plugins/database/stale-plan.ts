import { causesOf } from '../lib/errors.ts'

const kStalePlan = Symbol('rhone.stalePlan')

/** A query of the driver, which is a promise, with what we need of its insides. */
interface DriverQuery {
  cancelled: unknown
  reject(error: Error): void
}

/**
 * Keeps the driver from sending a statement again whose plan the server has lost or found out of date: its parameters
 * have been encoded already, and encoded twice, a byte string is another one, and `true` is `false`. What is sent over
 * the same connection meanwhile would get the wrong answers, too.
 *
 * The driver sets `retried` just before that, and sends nothing that is cancelled.
 */
export function refuseRepeat(query: object): void {
  Object.defineProperty(query, 'retried', REPEAT)
}

const REPEAT: PropertyDescriptor = {
  get: () => undefined,
  set(this: DriverQuery, error: Error) {
    this.cancelled = true
    this.reject(Object.assign(error, { [kStalePlan]: true }))
  }
}

/** Whether a statement was not begun because its plan was gone or out of date. The next attempt makes a new one. */
export function isStalePlan(error: unknown): boolean {
  return causesOf(error).some(cause => kStalePlan in cause)
}
