import { setTimeout as delay } from 'node:timers/promises'
import { RemoteError } from '../../../plugins/lib/remote.ts'

export interface RetryPace {
  /** Maximum number of rounds. */
  readonly rounds: number
  /** Milliseconds between rounds. */
  readonly pause: number
}

/**
 * Repeats `look`, which acts on whatever is left to do, until nothing is. An action counts as done only once its effect
 * is seen; the next round makes up for a failed call, unless the failure is Rhone's own fault.
 *
 * @param look returns undefined after acting, to be called again
 * @throws RemoteError of the last round
 */
export async function converge<T>(
  { rounds, pause }: RetryPace,
  signal: AbortSignal,
  look: () => Promise<T | undefined>
): Promise<T> {
  for (let round = 1; ; round++) {
    try {
      const found = await look()
      if (found !== undefined) return found
      if (round === rounds) throw new Error(`fly: an operation had no effect after ${rounds} attempts`)
    } catch (error) {
      if (round === rounds || !mayPass(error)) throw error
    }
    await sleep(pause, signal)
  }
}

function mayPass(error: unknown): boolean {
  if (!(error instanceof RemoteError)) return false
  return (
    error.isOutage || error.kind === 'refused' || error.kind === 'shape' || error.status === 429 || error.status === 409
  )
}

/**
 * Polls a condition every `interval` milliseconds, for `ms` at most. A failed check counts as not yet true.
 *
 * @returns whether it became true
 * @throws RemoteError when the last check failed
 */
export async function within(
  ms: number,
  interval: number,
  signal: AbortSignal,
  isSo: () => Promise<boolean>
): Promise<boolean> {
  const end = performance.now() + ms
  for (;;) {
    const isLast = performance.now() >= end
    try {
      if (await isSo()) return true
      if (isLast) return false
    } catch (error) {
      if (isLast || !mayPass(error)) throw error
    }
    await sleep(interval, signal)
  }
}

/** @throws the signal's reason */
export async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, { signal })
  } catch {
    signal.throwIfAborted()
  }
}

/** Processes all items, even if some fail. @throws the first failure, at the end */
export async function all<T>(things: readonly T[], work: (thing: T) => Promise<unknown>): Promise<void> {
  const outcomes = await Promise.allSettled(things.map(work))
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
}
