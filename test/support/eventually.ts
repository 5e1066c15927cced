import { setTimeout as delay } from 'node:timers/promises'

/** Milliseconds between two questions: at first, and in the end. */
const FIRST_PAUSE = 2
const LONGEST_PAUSE = 50
const LATE = Symbol('late')

/**
 * Asks again and again until the answer is as expected: for what comes about without an event that a test could await.
 *
 * @param isExpected without it, any truthy answer is
 * @param within milliseconds, generous by default: it decides how long a failure takes, never whether a test passes
 * @returns the first answer that is as expected
 * @throws Error that has the question and the last answer in it, also when a question is never answered
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
