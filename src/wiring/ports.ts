import type { MetricsPeers } from '../../plugins/metrics/index.ts'
import type { SharedBuckets } from '../../plugins/rate-limit/index.ts'
import type { SecretFeed } from '../config/index.ts'
import type { LiveConfig } from '../config/live.ts'
import type { Part } from '../kernel/part.ts'

/** What the caller of `buildApp` provides. */
export interface Ports {
  /** Shared by all apps of one instance. */
  readonly buckets?: SharedBuckets
  readonly peers?: MetricsPeers
  /** The source of changed secrets, and the settings that follow them. */
  readonly secrets?: { readonly feed: SecretFeed; readonly live: LiveConfig }
  /** The server's parts other than plugins; by default those in `wiring/parts`. */
  readonly parts?: readonly Part[]
}
