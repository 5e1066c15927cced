import { counter } from './metrics.ts'
import type { Registry } from './registry.ts'

/**
 * Why telemetry was lost, by signal. `queue_full`: the receiver is too slow. `export_failed`: it refused,
 * or did not answer. `limit`: more spans in one trace than are kept. `shutdown`: not delivered before the process
 * ended.
 * `repeated`: an equal error was sent within the last minute. `budget`: too many errors in a minute.
 */
export const DROP_REASONS = {
  traces: ['queue_full', 'export_failed', 'limit', 'shutdown'],
  errors: ['queue_full', 'export_failed', 'shutdown', 'repeated', 'budget']
} as const
type Signal = keyof typeof DROP_REASONS
export type DropReason<S extends Signal> = (typeof DROP_REASONS)[S][number]

/** Counts lost telemetry of one signal. All its series exist from the start. */
export function dropCounter<S extends Signal>(
  registry: Registry | undefined,
  signal: S
): (reason: DropReason<S>, count?: number) => void {
  const dropped = counter(registry, {
    name: 'rhone_telemetry_dropped_total',
    help: 'Spans and error reports that were not delivered.',
    labelNames: ['signal', 'reason']
  })
  for (const reason of DROP_REASONS[signal]) dropped.inc({ signal, reason }, 0)
  return (reason, count = 1) => dropped.inc({ signal, reason }, count)
}
