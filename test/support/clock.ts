import type { TestContext } from 'node:test'

interface Clock {
  now(): number
}

interface Hands {
  /** Milliseconds that the clock is ahead. */
  ahead: number
  stoppedAt: number | undefined
}

const mocked = new WeakMap<TestContext, Map<Clock, Hands>>()

/** Sets a clock of this process ahead until the end of the test. Running timers are not affected. */
export function setAhead(t: TestContext, clock: Clock, milliseconds: number): void {
  handsOf(t, clock).ahead += milliseconds
}

/**
 * Stops a clock of this process, to prove that code does not wait for time to pass.
 *
 * @returns a function that restarts the clock before the end of the test
 */
export function stopClock(t: TestContext, clock: Clock): () => void {
  const hands = handsOf(t, clock)
  hands.stoppedAt = clock.now() - hands.ahead
  return () => {
    hands.stoppedAt = undefined
  }
}

/** Mocks a clock once per test: Node would restore two mocks of a method in the wrong order, and leave one in place. */
function handsOf(t: TestContext, clock: Clock): Hands {
  const clocks = mocked.get(t) ?? new Map<Clock, Hands>()
  mocked.set(t, clocks)
  const known = clocks.get(clock)
  if (known !== undefined) return known
  const hands: Hands = { ahead: 0, stoppedAt: undefined }
  clocks.set(clock, hands)
  const now = clock.now.bind(clock)
  t.mock.method(clock, 'now', () => (hands.stoppedAt ?? now()) + hands.ahead)
  return hands
}
