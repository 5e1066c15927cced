import type { FastifyInstance, FastifyRequest } from 'fastify'
import { has } from './has.ts'

/** Milliseconds for a service to answer a probe in. */
const PING_TIMEOUT = 2_000

/** Most of it is asked for when a probe comes, by which time every plugin is there. */
export function healthOf(app: FastifyInstance) {
  const databaseAnswers = () => succeeds(app.postgres.ping(PING_TIMEOUT))
  const state = (isUp: boolean) => (isUp ? 'healthy' : 'unhealthy')
  const absent = () => 'not_configured' as const
  return {
    isOperator: async (request: FastifyRequest) => (await app.auth?.identify(request))?.isOperator === true,
    readiness: {
      starting: () => app.startup?.done !== false,
      ...(app.hasDecorator('db') && { database: databaseAnswers }),
      pressure: () => app.pressure?.sustained !== true,
      draining: () => app.drain?.draining !== true
    },
    services: {
      database: app.hasDecorator('db') ? async () => state(await databaseAnswers()) : absent,
      redis: app.hasDecorator('redis') ? async () => state(await succeeds(app.redis.ping())) : absent,
      fly: async () => (runsAtFly(app) ? state(await succeeds(app.deployer.ping?.(soon()))) : absent()),
      stripe: absent,
      github: async () => (has(app, 'github') ? state(await succeeds(app.github.ping(soon()))) : absent())
    }
  } as const
}

function runsAtFly(app: FastifyInstance): boolean {
  return has(app, 'deployer') && app.deployer.name === 'fly'
}

const soon = () => AbortSignal.timeout(PING_TIMEOUT)

function succeeds(call: Promise<unknown> | undefined): Promise<boolean> {
  return Promise.resolve(call).then(
    () => true,
    () => false
  )
}
