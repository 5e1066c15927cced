import { causesOf } from '../lib/errors.ts'

const kStalePlan = Symbol('rhone.stalePlan')

/** A driver query: a promise, plus the internals we need. */
interface DriverQuery {
  cancelled: unknown
  reject(error: Error): void
}

/**
 * Keeps the driver from resending a statement whose plan the server has lost or found outdated. Its parameters are
 * already encoded; encoding them twice corrupts byte strings and turns `true` into `false`. Statements sent meanwhile
 * on the same connection would get wrong answers, too.
 *
 * The driver sets `retried` just before it resends, and sends nothing that is cancelled.
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

/** Whether a statement was not started because its plan was lost or outdated. The next attempt makes a new plan. */
export function isStalePlan(error: unknown): boolean {
  return causesOf(error).some(cause => kStalePlan in cause)
}
