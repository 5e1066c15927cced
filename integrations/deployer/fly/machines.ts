import type { Machine } from './api.ts'
import { APP_LABEL, DEPLOYMENT_LABEL, MEMORY_MB } from './machine-config.ts'

/** The app and deployment of a machine; null if the machine is not ours and must not be touched. */
export function labelsOf(machine: Machine): { appId: string; deploymentId: string } | null {
  const metadata = (machine.config ?? machine.incomplete_config)?.metadata
  const appId = metadata?.[APP_LABEL]
  const deploymentId = metadata?.[DEPLOYMENT_LABEL]
  return appId === undefined || deploymentId === undefined ? null : { appId, deploymentId }
}

/** Final states of a machine. */
const GONE: ReadonlySet<string> = new Set(['destroying', 'destroyed'])
/** States in which a machine runs nothing and does not restart by itself. */
const DOWN: ReadonlySet<string> = new Set(['stopped', 'suspended', 'failed', 'launch_failed', 'migrated', 'replaced'])

export const isGone = ({ state }: Machine) => GONE.has(state)
export const isDown = ({ state }: Machine) => DOWN.has(state)
export const isStarted = ({ state }: Machine) => state === 'started'
export const isStopping = ({ state }: Machine) => state === 'stopping'
export const isOpen = ({ cordoned }: Machine) => cordoned !== true

/** Started, with all checks passing; a check without a result does not pass yet. */
export function isHealthy(machine: Machine): boolean {
  const checks = checksOf(machine)
  return isStarted(machine) && checks.length > 0 && checks.every(({ status }) => status === 'passing')
}

/** Whether it receives requests and answers them. */
export const isAnswering = (machine: Machine) => isOpen(machine) && isHealthy(machine)

/** Leaves out the checks that Fly adds for its older clients. */
function checksOf({ checks }: Machine) {
  return (checks ?? []).filter(({ name }) => !name.startsWith('bg_deployments_compat'))
}

/** The output of failing checks; empty if there is none. */
export function complaintOf(machine: Machine): string {
  const failing = checksOf(machine).find(({ status }) => status !== 'passing')
  return failing?.output?.slice(0, 500) ?? ''
}

/** Why a machine stopped, for its owner. */
export function endOf({ events }: Machine): string {
  const exit = events?.find(({ type }) => type === 'exit')?.request?.exit_event
  if (exit?.oom_killed === true) return `The app ran out of memory (${MEMORY_MB} MB).`
  if (exit?.exit_code == null) return 'The app exited before it was ready.'
  return `The app exited with code ${exit.exit_code} before it was ready.`
}
