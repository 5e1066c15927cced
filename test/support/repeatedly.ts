import { setTimeout as delay } from 'node:timers/promises'

export interface Repetition {
  /** Resolves after the last round; rejects if one failed. */
  stop(): Promise<void>
}

/**
 * Repeats an action, one round after the other, for example as the load of a client.
 *
 * @param signal also ends it: pass the signal of the test, so that it stops when the test fails
 * @param pause milliseconds between two rounds
 */
export function repeatedly(signal: AbortSignal, work: () => unknown, pause = 0): Repetition {
  let isOver = false
  const rounds = (async () => {
    for (; !isOver && !signal.aborted; await delay(pause)) await work()
  })()
  rounds.catch(() => {})
  return {
    stop() {
      isOver = true
      return rounds
    }
  }
}
