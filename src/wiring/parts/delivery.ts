import type { FastifyInstance } from 'fastify'
import { has } from '../../kernel/has.ts'
import type { Part } from '../../kernel/part.ts'
import { PING_TIMEOUT, stateOf } from './service-state.ts'

/** The parts that turn pushes and requests into running apps. */
const delivery: Part = {
  name: 'delivery',
  startSteps: (_config, app) => [{ name: 'jobs', run: async () => app.jobs?.start() }],
  queues: (_config, app) => (has(app, 'deploying') ? app.deploying.queues : []),
  services: (_config, app) => [
    { name: 'fly', check: () => stateOf(runsAtFly(app), () => app.deployer.ping?.(soon())) },
    { name: 'stripe', check: () => 'not_configured' },
    { name: 'github', check: () => stateOf(has(app, 'github'), () => app.github.ping(soon())) }
  ]
}

function runsAtFly(app: FastifyInstance): boolean {
  return has(app, 'deployer') && app.deployer.name === 'fly'
}

const soon = () => AbortSignal.timeout(PING_TIMEOUT)

export default delivery
