import { setTimeout as delay } from 'node:timers/promises'
import { RemoteError } from '../../../plugins/lib/remote.ts'

export interface Patience {
  /** How often it is looked whether anything is left to do. */
  readonly rounds: number
  /** Milliseconds between two looks. */
  readonly pause: number
}

/**
 * Looks, and does what is left to do, until there is nothing left. What Fly says that it has done is believed when it is
 * seen; a call that has failed is made good by the next round, if anything but Rhone's own fault may have been the cause.
 *
 * @param look gives undefined when it has done something, and it must be looked again
 * @throws RemoteError of the last round
 */
export async function converge<T>(
  { rounds, pause }: Patience,
  signal: AbortSignal,
  look: () => Promise<T | undefined>
): Promise<T> {
  for (let round = 1; ; round++) {
    try {
      const found = await look()
      if (found !== undefined) return found
      if (round === rounds) throw new Error(`fly: what it was told ${rounds} times has not come about`)
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
 * Looks every `interval` whether it is so, for `ms` at most. While it cannot be seen, it is not so yet.
 *
 * @returns whether it has been
 * @throws RemoteError when it could not be seen the last time
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

/** Does all of it, even if some fails. @throws the first failure, afterwards */
export async function all<T>(things: readonly T[], work: (thing: T) => Promise<unknown>): Promise<void> {
  const outcomes = await Promise.allSettled(things.map(work))
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
}
