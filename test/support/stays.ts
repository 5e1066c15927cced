import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'

/** Milliseconds between two questions. */
const PAUSE = 5

/**
 * Asserts again and again that a claim holds: for what must not happen, which has no event to await. A slow
 * machine asks less often, so that it can miss a fault, but never report one that is not there.
 *
 * @param during milliseconds, longer than what must not happen would take
 */
export async function stays(holds: () => Promise<unknown> | unknown, during = 50): Promise<void> {
  for (const until = performance.now() + during; performance.now() < until; await delay(PAUSE))
    assert.ok(await holds(), `no longer: ${holds}`)
  assert.ok(await holds(), `no longer: ${holds}`)
}
