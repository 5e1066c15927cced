import { counter, gauge, histogram } from '../lib/metrics.ts'
import type { Registry } from '../lib/registry.ts'
import { PRIORITIES, type Priority } from './flow.ts'
import type { Gate, RefusalReason } from './gate.ts'
import type { PressureGauge, PressureReason } from './gauge.ts'

export type ShedReason = PressureReason | RefusalReason | 'client_gone'

const SHED_REASONS: readonly ShedReason[] = [
  'event_loop',
  'heap',
  'rss',
  'queue_full',
  'queue_timeout',
  'streams',
  'client_gone'
]

/** The metrics of the plugin's decisions. */
export class PressureMetrics {
  readonly #waits: Record<Priority, { observe(seconds: number): void }>
  /** Refusals since the last scrape: incrementing a number in a map is cheaper per refusal than a label lookup. */
  readonly #fresh = new Map<ShedReason, Record<Priority, number>>()

  constructor(registry: Registry | undefined) {
    const fresh = this.#fresh
    const shed = counter(registry, {
      name: 'rhone_shed_total',
      help: 'Requests shed because of overload, by reason.',
      labelNames: ['reason', 'priority'],
      collect() {
        for (const [reason, counts] of fresh)
          for (const priority of PRIORITIES) if (counts[priority] > 0) shed.inc({ reason, priority }, counts[priority])
        fresh.clear()
      }
    })
    // Starts at zero: a rate misses the first event of a series that begins with it.
    for (const reason of SHED_REASONS) for (const priority of PRIORITIES) shed.inc({ reason, priority }, 0)
    const waits = histogram(registry, {
      name: 'rhone_admission_queue_seconds',
      help: 'Time that requests waited for admission; without those that did not wait.',
      labelNames: ['priority'],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3]
    })
    this.#waits = perPriority(priority => waits.labels(priority))
  }

  shed(reason: ShedReason, priority: Priority): void {
    const counts = this.#fresh.get(reason) ?? perPriority(() => 0)
    counts[priority]++
    this.#fresh.set(reason, counts)
  }

  waited(priority: Priority, milliseconds: number): void {
    this.#waits[priority].observe(milliseconds / 1_000)
  }

  /** Adds metrics that are read at each scrape. */
  show(registry: Registry | undefined, meter: PressureGauge, gate: Gate, limit: () => number): void {
    gauge(registry, {
      name: 'rhone_pressure_level',
      help: 'Pressure level, by what is refused: 0 nothing, 1 bulk, 2 also normal requests, 3 all but probes.',
      aggregator: 'max',
      collect() {
        this.set(meter.level)
      }
    })
    gauge(registry, {
      name: 'rhone_concurrency_limit',
      help: 'The concurrency limit.',
      collect() {
        this.set(limit())
      }
    })
    gauge(registry, {
      name: 'rhone_concurrency_in_flight',
      help: 'Requests in flight that count against the limit, and open streams, which do not.',
      labelNames: ['priority'],
      collect() {
        gate.sweep()
        for (const { priority, inFlight } of Object.values(gate.admission.lanes)) this.set({ priority }, inFlight)
        this.set({ priority: 'stream' }, gate.streams)
      }
    })
    gauge(registry, {
      name: 'rhone_admission_waiting',
      help: 'Requests waiting for admission.',
      labelNames: ['priority'],
      collect() {
        for (const { priority, arrivals } of Object.values(gate.admission.lanes))
          this.set({ priority }, arrivals.length)
      }
    })
  }
}

function perPriority<Value>(of: (priority: Priority) => Value): Record<Priority, Value> {
  return Object.fromEntries(PRIORITIES.map(priority => [priority, of(priority)])) as Record<Priority, Value>
}
