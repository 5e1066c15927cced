import type { MetricsPeers } from '../../plugins/metrics/index.ts'
import type { SharedBuckets } from '../../plugins/rate-limit/index.ts'
import type { Part } from '../kernel/part.ts'

/** What the caller of `buildApp` hands in. */
export interface Ports {
  /** Shared by apps that are one instance. */
  readonly buckets?: SharedBuckets
  readonly peers?: MetricsPeers
  /** What the server is made of besides plugins; the parts of `wiring/parts` by default. */
  readonly parts?: readonly Part[]
}
