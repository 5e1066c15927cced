import type { AppOverview } from '../../src/domain/apps/overview.ts'
import type { DeploymentStatus } from '../../src/domain/deployments/lifecycle.ts'
import type { Status } from '../parts/display.ts'

const BUSY = (word: string): Status => ({ tone: 'busy', icon: 'spinner', word })

/** Names of the states of a deployment, for people. */
export const DEPLOYMENT_STATES: Readonly<Record<DeploymentStatus, Status>> = {
  pending: { tone: 'busy', icon: 'clock', word: 'Queued' },
  cloning: BUSY('Fetching code'),
  analyzing: BUSY('Looking at code'),
  building: BUSY('Building'),
  pushing: BUSY('Storing image'),
  built: BUSY('Built'),
  deploying: BUSY('Releasing'),
  live: { tone: 'good', icon: 'ok', word: 'Live' },
  build_failed: { tone: 'bad', icon: 'stop', word: 'Build failed' },
  deploy_failed: { tone: 'bad', icon: 'stop', word: 'Release failed' },
  cancelled: { tone: 'none', icon: 'slash', word: 'Cancelled' },
  superseded: { tone: 'none', icon: 'dot', word: 'Replaced' }
}

/** An app that was never deployed, as opposed to a stopped one. */
const NEVER: Status = { tone: 'none', icon: 'never', word: 'Never deployed' }

/** It should serve, but the machines report that it does not. */
const DOWN: Status = { tone: 'bad', icon: 'stop', word: 'Not answering' }

/** An app with whether its live release is down; absent if unknown. */
export type Measured<App> = App & { readonly isDown?: boolean }

/** How people call what has become of a deployment, and how it is if it serves. */
export function deploymentState({ status, isDown }: Measured<{ readonly status: DeploymentStatus }>): Status {
  return isDown ? DOWN : DEPLOYMENT_STATES[status]
}

export interface AppState {
  readonly status: Status
  readonly since: string | null
  /** The lower, the sooner it needs attention. */
  readonly urgency: number
}

/**
 * An app's state, from its deployments and machines, in order of precedence: work in progress, an outage, a failure,
 * what serves.
 */
export function appState({ latest, live, isDown }: Measured<Pick<AppOverview, 'latest' | 'live'>>): AppState {
  if (latest === null) return { status: NEVER, since: null, urgency: 4 }
  const status = DEPLOYMENT_STATES[latest.status]
  if (isDown && status.tone !== 'busy') return { status: DOWN, since: null, urgency: 0 }
  if (status.tone === 'bad') return { status, since: latest.updatedAt, urgency: live === null ? 0 : 1 }
  if (status.tone === 'busy') return { status, since: latest.updatedAt, urgency: 2 }
  if (live !== null) return { status: DEPLOYMENT_STATES.live, since: live.updatedAt, urgency: 3 }
  return { status, since: latest.updatedAt, urgency: 4 }
}
