import { ACTIVE_DEPLOYMENT_STATUSES, type DeploymentStatus } from '../../../drizzle/schema.ts'

export type { DeploymentStatus }

/** The steps of a build, in order; a builder may skip some. */
export const BUILD_STATUSES = ['cloning', 'analyzing', 'building', 'pushing'] as const satisfies DeploymentStatus[]

const WAY_OUT_OF_BUILD = ['built', 'build_failed', 'cancelled'] as const

/**
 * The allowed transitions of each status. An interrupted build restarts from cloning; with a given image there is
 * nothing to build. Final statuses do not change, except that a live deployment can be superseded.
 */
export const NEXT_STATUSES: Readonly<Record<DeploymentStatus, readonly DeploymentStatus[]>> = {
  pending: ['cloning', 'built', 'build_failed', 'deploy_failed', 'cancelled'],
  cloning: ['cloning', 'analyzing', 'building', 'pushing', ...WAY_OUT_OF_BUILD],
  analyzing: ['cloning', 'building', 'pushing', ...WAY_OUT_OF_BUILD],
  building: ['cloning', 'pushing', ...WAY_OUT_OF_BUILD],
  pushing: ['cloning', ...WAY_OUT_OF_BUILD],
  built: ['deploying', 'deploy_failed', 'cancelled'],
  deploying: ['live', 'deploy_failed', 'cancelled'],
  live: ['superseded'],
  build_failed: [],
  deploy_failed: [],
  cancelled: [],
  superseded: []
}

export function canBecome(from: DeploymentStatus, to: DeploymentStatus): boolean {
  return NEXT_STATUSES[from].includes(to)
}

/** Whether work on it is pending or in progress. Such a deployment can be cancelled. */
export function isActive(status: DeploymentStatus): boolean {
  return (ACTIVE_DEPLOYMENT_STATUSES as readonly DeploymentStatus[]).includes(status)
}

/** Whether a builder is working on it. */
export function isBuilding(status: DeploymentStatus): boolean {
  return (BUILD_STATUSES as readonly DeploymentStatus[]).includes(status)
}

/** The status after a failure: until there is an image, the build has failed. */
export function failureOf(status: DeploymentStatus, hasImage: boolean): 'build_failed' | 'deploy_failed' {
  return isBuilding(status) || (status === 'pending' && !hasImage) ? 'build_failed' : 'deploy_failed'
}
