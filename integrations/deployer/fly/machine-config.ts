import type { Release } from '../port.ts'

const APP_PORT = 8080
const HEALTH_PATH = '/health'
/** Seconds in which failed health checks do not count. */
const GRACE = 30
export const MEMORY_MB = 512
/** Seconds from SIGTERM until the machine is killed. */
export const STOP_TIMEOUT = 30

/** Labels of our machines: the app and the deployment. */
export const APP_LABEL = 'rhone_app_id'
export const DEPLOYMENT_LABEL = 'rhone_deployment_id'

/** The port the app must listen on. */
export function portOf(health: Release['health']): number {
  return health?.port ?? APP_PORT
}

export function healthPathOf(health: Release['health']): string {
  return health?.path ?? HEALTH_PATH
}

/** Machine names are unique within an app, so creating a release twice by accident still runs it once. */
export function machineName(deploymentId: string): string {
  return `rhone-${deploymentId}`
}

/** The machine config of every app. The platform's variables override the owner's. */
export function machineConfig({ app, deploymentId, image, env, region, health }: Release): object {
  const port = portOf(health)
  return {
    image,
    env: { ...env, PORT: String(port), PRIMARY_REGION: region },
    guest: { cpu_kind: 'shared', cpus: 1, memory_mb: MEMORY_MB },
    services: [
      {
        protocol: 'tcp',
        internal_port: port,
        ports: [
          { port: 443, handlers: ['tls', 'http'] },
          { port: 80, handlers: ['http'], force_https: true }
        ],
        concurrency: { type: 'connections', soft_limit: 800, hard_limit: 1_000 },
        autostart: false,
        autostop: 'off'
      }
    ],
    checks: {
      health: {
        type: 'http',
        port,
        method: 'GET',
        path: healthPathOf(health),
        interval: '10s',
        timeout: '5s',
        grace_period: `${health?.grace ?? GRACE}s`
      }
    },
    restart: { policy: 'on-failure', max_retries: 3 },
    stop_config: { signal: 'SIGTERM', timeout: `${STOP_TIMEOUT}s` },
    auto_destroy: false,
    metadata: { [APP_LABEL]: app.id, [DEPLOYMENT_LABEL]: deploymentId }
  }
}
