import { ACTIVE_DEPLOYMENT_STATUSES, type DeploymentStatus } from '../../../drizzle/schema.ts'

export type { DeploymentStatus }

/** The steps of a build, in their order; a builder may pass over some of them. */
export const BUILD_STATUSES = ['cloning', 'analyzing', 'building', 'pushing'] as const satisfies DeploymentStatus[]

const WAY_OUT_OF_BUILD = ['built', 'build_failed', 'cancelled'] as const

/**
 * What each status may become: the whole life of a deployment. A build that was cut off begins again from cloning; with
 * an image given there is nothing to build. What is over stays as it is, but that a live deployment is superseded.
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

/** Whether somebody works on it, or will. Such a deployment can be cancelled. */
export function isActive(status: DeploymentStatus): boolean {
  return (ACTIVE_DEPLOYMENT_STATUSES as readonly DeploymentStatus[]).includes(status)
}

/** Whether it is in the hands of a builder. */
export function isBuilding(status: DeploymentStatus): boolean {
  return (BUILD_STATUSES as readonly DeploymentStatus[]).includes(status)
}

/** What a failure makes of it: until there is an image, it is the build that has failed. */
export function failureOf(status: DeploymentStatus, hasImage: boolean): 'build_failed' | 'deploy_failed' {
  return isBuilding(status) || (status === 'pending' && !hasImage) ? 'build_failed' : 'deploy_failed'
}
