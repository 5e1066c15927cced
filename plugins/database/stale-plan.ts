import { causesOf } from '../lib/errors.ts'

const kStalePlan = Symbol('rhone.stalePlan')

export const markStalePlan = (error: Error): Error => Object.assign(error, { [kStalePlan]: true })

/** Whether a statement was not started because its plan was lost or outdated. The next attempt makes a new plan. */
export function isStalePlan(error: unknown): boolean {
  return causesOf(error).some(cause => kStalePlan in cause)
}
