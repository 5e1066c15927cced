import type { FastifyBaseLogger } from 'fastify'
import { counter } from '../lib/metrics.ts'
import type { Registry } from '../lib/registry.ts'

export const REASONS = ['full', 'address', 'displaced', 'silent', 'pipelining', 'slow_reader', 'late_body'] as const
export type Reason = (typeof REASONS)[number]

/** Minimum milliseconds between two log lines, because refusals come in floods. */
const REPORT_EVERY = 10_000

export interface Refusals {
  count(reason: Reason): void
  /** Logs the counts since the last report, at most once per `REPORT_EVERY`. */
  report(log: FastifyBaseLogger, now: number): void
}

export function countRefusals(registry: Registry | undefined): Refusals {
  const metric = counter(registry, {
    name: 'rhone_connections_refused_total',
    help: 'Connections refused or closed by the server, by reason.',
    labelNames: ['reason']
  })
  const counters = Object.fromEntries(REASONS.map(reason => [reason, metric.labels({ reason })]))
  for (const reason of REASONS) counters[reason]!.inc(0)

  let since: Partial<Record<Reason, number>> = {}
  let reportedAt = -Infinity
  return {
    count(reason) {
      counters[reason]!.inc()
      since[reason] = (since[reason] ?? 0) + 1
    },
    report(log, now) {
      if (now - reportedAt < REPORT_EVERY || Object.keys(since).length === 0) return
      log.warn({ connections: since }, 'connections were refused or closed')
      since = {}
      reportedAt = now
    }
  }
}
