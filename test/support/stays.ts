import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'

/** Milliseconds between polls. */
const PAUSE = 5

/**
 * Asserts repeatedly that a condition holds: for things that must not happen, which have no event to await. A slow
 * machine polls less often, so it can miss a failure, but never report a false one.
 *
 * @param during milliseconds, longer than the unwanted event would take
 */
export async function stays(holds: () => Promise<unknown> | unknown, during = 50): Promise<void> {
  for (const until = performance.now() + during; performance.now() < until; await delay(PAUSE))
    assert.ok(await holds(), `no longer: ${holds}`)
  assert.ok(await holds(), `no longer: ${holds}`)
}
