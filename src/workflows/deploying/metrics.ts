import type { Registry } from '@platformatic/prom-client'
import { DEPLOYMENT_TRIGGERS } from '../../../drizzle/schema.ts'
import { counter, histogram } from '../../../plugins/lib/metrics.ts'
import type { DeploymentChange } from '../../domain/deployments/deployments.ts'
import type { DeploymentStatus } from '../../domain/deployments/lifecycle.ts'

const BUILD_OUTCOMES = ['success', 'failure', 'cancelled'] as const
export type BuildOutcome = (typeof BUILD_OUTCOMES)[number]

export interface DeploymentMetrics {
  changed(change: Pick<DeploymentChange, 'trigger' | 'to'>): void
  /** @param seconds the build's duration */
  built(status: BuildOutcome, seconds: number): void
}

/** Final statuses, one per deployment. `superseded` is left out because it follows `live`. */
const OUTCOMES: ReadonlySet<DeploymentStatus> = new Set(['live', 'build_failed', 'deploy_failed', 'cancelled'])

/** Counts deployments by outcome, each once, and builds. */
export function deploymentMetrics(registry: Registry | undefined): DeploymentMetrics {
  const deployments = counter(registry, {
    name: 'rhone_deployments_total',
    help: 'Finished deployments by final status and trigger; each is counted once.',
    labelNames: ['status', 'trigger']
  })
  const builds = counter(registry, {
    name: 'rhone_builds_total',
    help: 'Finished builds, by status.',
    labelNames: ['status']
  })
  const durations = histogram(registry, {
    name: 'rhone_build_duration_seconds',
    help: 'Duration of builds.',
    labelNames: ['status'],
    buckets: [10, 30, 60, 120, 300, 600, 900, 1200, 1800]
  })
  // All start at zero: a rate misses the first event of a series that begins with it.
  for (const status of OUTCOMES) for (const trigger of DEPLOYMENT_TRIGGERS) deployments.inc({ status, trigger }, 0)
  for (const status of BUILD_OUTCOMES) {
    builds.inc({ status }, 0)
    durations.zero({ status })
  }
  return {
    changed({ to: status, trigger }) {
      if (OUTCOMES.has(status)) deployments.inc({ status, trigger })
    },
    built(status, seconds) {
      builds.inc({ status })
      durations.observe({ status }, seconds)
    }
  }
}
