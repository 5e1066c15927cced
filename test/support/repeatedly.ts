import { setTimeout as delay } from 'node:timers/promises'

export interface Repetition {
  /** Resolves when the last round is over; rejects if one has failed. */
  stop(): Promise<void>
}

/**
 * Does something again and again, one round after the other: the load of a client, say.
 *
 * @param signal ends it, too: that of the test, so that nothing goes on when it has failed
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
