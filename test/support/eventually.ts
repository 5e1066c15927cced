import { setTimeout as delay } from 'node:timers/promises'

/** Milliseconds between polls: initial and maximum. */
const FIRST_PAUSE = 2
const LONGEST_PAUSE = 50
const LATE = Symbol('late')

/**
 * Polls until the answer is as expected, for conditions without an event to await.
 *
 * @param isExpected without it, any truthy answer is
 * @param within milliseconds, generous by default: it affects how long a failure takes, never whether a test passes
 * @returns the first expected answer
 * @throws Error with the question and the last answer, even if a question is never answered
 */
export async function eventually<T>(
  ask: () => Promise<T> | T,
  isExpected: (answer: T) => unknown = Boolean,
  within = 60_000
): Promise<T> {
  const settled = new AbortController()
  const deadline = delay(within, LATE, { signal: settled.signal })
  deadline.catch(() => {})
  let last: T | typeof LATE = LATE
  try {
    for (let pause = FIRST_PAUSE; ; pause = Math.min(pause * 1.5, LONGEST_PAUSE)) {
      const answer = await Promise.race([ask(), deadline])
      if (answer !== LATE && isExpected(answer)) return answer
      if (answer !== LATE) last = answer
      const isLate = answer === LATE || (await Promise.race([delay(pause), deadline])) === LATE
      if (isLate) throw new Error(`not within ${within} ms: ${ask}; last answer: ${shown(last)}`)
    }
  } finally {
    settled.abort()
  }
}

function shown(answer: unknown): string {
  return answer === LATE ? 'none' : JSON.stringify(answer)
}
