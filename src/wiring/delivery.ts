import type { FastifyInstance } from 'fastify'
import { githubSource } from '../../integrations/github/webhook-source.ts'
import type { DeadJob } from '../../plugins/jobs/index.ts'
import type { Config } from '../config/index.ts'
import { workDirOf } from '../config/work-dir.ts'
import { has, registryOf } from '../kernel/has.ts'
import { deliveryStore } from '../workflows/deploying/delivery-store.ts'
import { contributed } from './parts/index.ts'
import type { Ports } from './ports.ts'

/* Options of the plugins that turn pushes into running apps. */

export function builder(config: Config) {
  const { builder, buildkit, registry, dataDir, production, githubUrls } = config
  return (
    builder !== null && {
      kind: builder,
      dataDir: builder === 'local' ? workDirOf(dataDir) : dataDir,
      allowLocal: !production,
      trustedHosts: [new URL(githubUrls.url).host],
      ...(buildkit && { buildkit: { ...buildkit } }),
      ...(registry.token !== null && {
        imageRegistry: { host: registry.host, token: registry.token },
        latestRegistryToken: () => config.registry.token ?? ''
      })
    }
  )
}

export function deployer(config: Config, app: FastifyInstance) {
  const { deployer, fly, dataDir, appsPort } = config
  if (deployer === null) return false
  return {
    ...registryOf(app),
    kind: deployer,
    ...(deployer === 'local' && { local: { dataDir: workDirOf(dataDir), anchor: dataDir, port: appsPort } }),
    ...(fly && {
      fly: { token: fly.token, organization: fly.org, apiUrl: fly.apiUrl, graphqlUrl: fly.graphqlUrl },
      latestFlyToken: () => config.fly?.token ?? ''
    })
  }
}

export function github(config: Config, app: FastifyInstance) {
  const { githubApp, github, githubUrls, baseUrl, keys } = config
  if (githubApp === null) return false
  return {
    ...registryOf(app),
    ...githubUrls,
    appId: githubApp.id,
    latest: () => ({
      privateKey: config.githubApp?.privateKey ?? '',
      clientSecret: config.github?.clientSecret ?? ''
    }),
    slug: githubApp.slug,
    page: '/login',
    callback: `${baseUrl.origin}/github/callback`,
    ...(github && { clientId: github.clientId }),
    ...(keys.session && { keys: keys.session })
  }
}

export function webhooks(config: Config, app: FastifyInstance) {
  return {
    ...registryOf(app),
    sources: [githubSource({ secrets: () => config.githubWebhookSecrets })],
    ...(has(app, 'db') &&
      has(app, 'jobs') && {
        store: deliveryStore(
          () => app.db,
          () => app.jobs
        )
      })
  }
}

export function deploying(config: Config, app: FastifyInstance) {
  return has(app, 'db') && { config }
}

export function jobs(config: Config, app: FastifyInstance, ports: Ports) {
  return {
    ...registryOf(app),
    queues: has(app, 'db') ? contributed('queues', config, app, ports) : [],
    isPaused: () => app.maintenance?.state.enabled === true,
    onDead: (dead: DeadJob) => app.errorTracking?.capture(dead)
  }
}
