import type { Release } from '../port.ts'

/** Where an app has to listen. */
export const APP_PORT = 8080
export const MEMORY_MB = 512
/** Seconds from SIGTERM until the machine is killed. */
export const STOP_TIMEOUT = 30

/** What our machines are known by: whose they are, and of which deployment. */
export const APP_LABEL = 'rhone_app_id'
export const DEPLOYMENT_LABEL = 'rhone_deployment_id'

/** No two machines of an app have the same name: made twice, by whatever accident, a release still runs once. */
export function machineName(deploymentId: string): string {
  return `rhone-${deploymentId}`
}

/** The one form in which apps run, wherever they do. What the platform sets goes before what the owner has set. */
export function machineConfig({ app, deploymentId, image, env, region }: Release): object {
  return {
    image,
    env: { ...env, PORT: String(APP_PORT), PRIMARY_REGION: region },
    guest: { cpu_kind: 'shared', cpus: 1, memory_mb: MEMORY_MB },
    services: [
      {
        protocol: 'tcp',
        internal_port: APP_PORT,
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
        port: APP_PORT,
        method: 'GET',
        path: '/health',
        interval: '10s',
        timeout: '5s',
        grace_period: '30s'
      }
    },
    restart: { policy: 'on-failure', max_retries: 3 },
    stop_config: { signal: 'SIGTERM', timeout: `${STOP_TIMEOUT}s` },
    auto_destroy: false,
    metadata: { [APP_LABEL]: app.id, [DEPLOYMENT_LABEL]: deploymentId }
  }
}
