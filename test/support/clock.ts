import type { TestContext } from 'node:test'

interface Clock {
  now(): number
}

const ahead = new WeakMap<TestContext, Map<Clock, number>>()

/** Sets a clock of this process ahead until the end of the test. Timers that run keep to their time. */
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
 * Stops a clock of this process: what must not wait for time to pass cannot.
 *
 * @returns lets it go on before the end of the test
 */
export function stopClock(t: TestContext, clock: Clock): () => void {
  const now = clock.now()
  const { mock } = t.mock.method(clock, 'now', () => now)
  return () => mock.restore()
}
