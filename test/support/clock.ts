import type { TestContext } from 'node:test'

/** Sets a clock of this process ahead until the end of the test. Timers that run keep to their time. */
export function setAhead(t: TestContext, clock: { now(): number }, milliseconds: number): void {
  const now = clock.now.bind(clock)
  t.mock.method(clock, 'now', () => now() + milliseconds)
}
