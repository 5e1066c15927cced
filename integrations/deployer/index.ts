import type { Registry } from '@platformatic/prom-client'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { type PluginInput, parseOptions } from '../../plugins/lib/options.ts'
import { FlyOptions, flyDeployer } from './fly/index.ts'
import { LocalDeployer, LocalOptions } from './local/index.ts'
import type { Deployer } from './port.ts'

export const DeployerOptions = Type.Object(
  {
    kind: Type.Union([Type.Literal('local'), Type.Literal('fly')], {
      default: 'local',
      description: 'Where apps run: local, as processes of this machine; fly, as Fly Machines.'
    }),
    local: Type.Partial(LocalOptions, {
      default: {},
      additionalProperties: false,
      description: 'For apps that run as processes of this machine.'
    }),
    fly: Type.Optional(
      Type.Object(FlyOptions.properties, { additionalProperties: false, description: 'For apps that run at Fly.' })
    )
  },
  { additionalProperties: false }
)
export type DeployerOptions = Static<typeof DeployerOptions>

export interface DeployerDeps {
  registry?: Registry
  /** The current Fly token, in place of the option, if it can change while the server runs. */
  latestFlyToken?: () => string
  /** Replaces the built-in deployers. */
  deployer?: Deployer
}

export type { AppMetrics, DeployedApp, Deployer, Release, RolloutContext, Running, RuntimeLine } from './port.ts'
export { DeployError } from './port.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Runs the apps. It starts nothing by itself: callers tell it what should run. */
    deployer: Deployer
  }
}

type Maker = (options: DeployerOptions, deps: Partial<DeployerDeps>) => Deployer

/** Factories by kind of deployer. */
const makers: Readonly<Record<DeployerOptions['kind'], Maker>> = {
  local: ({ local }) => new LocalDeployer(local),
  fly({ fly }, { registry, latestFlyToken: token }) {
    if (fly === undefined) throw new Error('rhone-deployer: kind "fly" needs the option "fly"')
    return flyDeployer(fly, { registry, token })
  }
}

const deployer: FastifyPluginAsync<PluginInput<typeof DeployerOptions, DeployerDeps>> = async (app, input) => {
  const options = parseOptions('rhone-deployer', DeployerOptions, input, ['deployer', 'latestFlyToken', 'registry'])
  const deployer = input.deployer ?? makers[options.kind](options, input)
  app.decorate<Deployer>('deployer', deployer)
  if (deployer.caution !== undefined) app.addHook('onReady', async () => app.log.warn(deployer.caution))
}

export default fp(deployer, { name: 'rhone-deployer', fastify: '5.x' })
