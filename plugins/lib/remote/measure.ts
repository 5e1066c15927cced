import { tracingChannel } from 'node:diagnostics_channel'
import { gauge, histogram } from '../metrics.ts'
import type { Registry } from '../registry.ts'
import { RemoteError, type RemoteFailure } from './error.ts'

/** The message on the tracing channel `rhone.remote` for each attempt to call another service. */
export interface RemoteTrace {
  readonly service: string
  readonly operation: string
  readonly method: string
  /** Starts at 1. */
  readonly attempt: number
  /** Sent with the request; subscribers may add a `traceparent` before it goes out. */
  readonly headers: Record<string, string>
  /** The status of the answer. */
  status?: number
}

const channel = tracingChannel<unknown, RemoteTrace>('rhone.remote')

type Outcome = 'success' | 'aborted' | RemoteFailure

export interface Gauges {
  /** Runs one attempt; records and traces its duration and outcome. */
  attempt<T>(trace: RemoteTrace, work: () => Promise<T>): Promise<T>
  circuit(isOpen: boolean): void
}

/** The metrics of one service, summed over all its clients. */
export function measure(registry: Registry | undefined, service: string): Gauges {
  const durations = histogram(registry, {
    name: 'rhone_dependency_request_duration_seconds',
    help: 'Duration of calls to other services.',
    labelNames: ['service', 'operation', 'outcome'],
    buckets: [0.05, 0.1, 0.2, 0.5, 1, 2, 5]
  })
  const open = gauge(registry, {
    name: 'rhone_dependency_circuit_open',
    help: 'Whether the circuit of a service is open after failed calls: 1 open, 0 closed.',
    labelNames: ['service'],
    aggregator: 'max'
  })
  open.inc({ service }, 0)

  return {
    async attempt(trace, work) {
      const start = performance.now()
      const stop = (outcome: Outcome) =>
        durations.observe({ service, operation: trace.operation, outcome }, (performance.now() - start) / 1_000)
      try {
        const result = await channel.tracePromise(work, trace)
        stop('success')
        return result
      } catch (error) {
        stop(error instanceof RemoteError ? error.kind : 'aborted')
        throw error
      }
    },
    circuit(isOpen) {
      if (isOpen) open.inc({ service })
      else open.dec({ service })
    }
  }
}
