import type { TestContext } from 'node:test'

interface Clock {
  now(): number
}

const ahead = new WeakMap<TestContext, Map<Clock, number>>()

/** Sets a clock of this process ahead until the end of the test. Running timers are not affected. */
export function setAhead(t: TestContext, clock: Clock, milliseconds: number): void {
  const clocks = ahead.get(t) ?? new Map<Clock, number>()
  ahead.set(t, clocks)
  const before = clocks.get(clock)
  clocks.set(clock, (before ?? 0) + milliseconds)
  if (before !== undefined) return
  const now = clock.now.bind(clock)
  t.mock.method(clock, 'now', () => now() + clocks.get(clock)!)
}

/**
 * Stops a clock of this process, to prove that code does not wait for time to pass.
 *
 * @returns a function that restarts the clock before the end of the test
 */
export function stopClock(t: TestContext, clock: Clock): () => void {
  const now = clock.now()
  const { mock } = t.mock.method(clock, 'now', () => now)
  return () => mock.restore()
}
