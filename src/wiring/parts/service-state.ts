import type { ServiceState } from '../../../plugins/health/index.ts'

/** Milliseconds within which a service must answer a probe. */
export const PING_TIMEOUT = 2_000

/** @param ping rejects when the service does not answer; not called when the service is not configured */
export async function stateOf(isConfigured: boolean, ping: () => Promise<unknown> | undefined): Promise<ServiceState> {
  if (!isConfigured) return 'not_configured'
  return (await hasSucceeded(ping)) ? 'healthy' : 'unhealthy'
}

export async function hasSucceeded(call: () => Promise<unknown> | undefined): Promise<boolean> {
  try {
    await call()
    return true
  } catch {
    return false
  }
}
