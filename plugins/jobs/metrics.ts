import { setTimeout as delay } from 'node:timers/promises'
import { counter, gauge } from '../lib/metrics.ts'
import type { Registry } from '../lib/registry.ts'
import { singleFlight } from '../lib/single-flight.ts'

/**
 * How attempts end. `dead`: the last one allowed has failed. `returned`: put back when its server stopped. `lost`:
 * given to another instance because its own stopped responding.
 */
export const OUTCOMES = ['completed', 'retried', 'dead', 'cancelled', 'returned', 'lost'] as const
export type Outcome = (typeof OUTCOMES)[number]

/** Milliseconds that a reading stays fresh, and that a scrape waits for one. */
const TTL = 15_000
const TIMEOUT = 1_000

export function outcomeCounter(registry: Registry | undefined, queues: readonly string[]) {
  const outcomes = counter(registry, {
    name: 'rhone_jobs_total',
    help: 'Job attempts, by outcome.',
    labelNames: ['queue', 'outcome']
  })
  for (const queue of queues) for (const outcome of OUTCOMES) outcomes.inc({ queue, outcome }, 0)
  return (queue: string, outcome: Outcome) => outcomes.inc({ queue, outcome })
}

/** The same number on all instances. A reading not ready in time is omitted: an old number would be wrong. */
export function measureWaiting(
  registry: Registry | undefined,
  queues: readonly string[],
  read: () => Promise<ReadonlyMap<string, number>>
): void {
  const latest = singleFlight(TTL, read)
  const waiting = gauge(registry, {
    name: 'rhone_jobs_waiting',
    help: 'Jobs waiting for their first or next attempt.',
    labelNames: ['queue'],
    aggregator: 'max',
    async collect() {
      try {
        const counts = await Promise.race([latest(), tooLate()])
        for (const queue of queues) waiting.set({ queue }, counts.get(queue) ?? 0)
      } catch {
        // Other parts report that the database is away.
        for (const queue of queues) waiting.remove({ queue })
      }
    }
  })
}

async function tooLate(): Promise<never> {
  await delay(TIMEOUT, undefined, { ref: false })
  throw new Error(`no answer within ${TIMEOUT} ms`)
}
