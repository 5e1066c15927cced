import type { MetricsPeers } from '../../plugins/metrics/index.ts'
import type { SharedBuckets } from '../../plugins/rate-limit/index.ts'

/** What apps that are one instance share. An app alone has nothing of it. */
export interface Ports {
  readonly buckets?: SharedBuckets
  readonly peers?: MetricsPeers
}
