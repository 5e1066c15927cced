import { once } from 'node:events'
import type { Registry } from '@platformatic/prom-client'
import { type Static, Type } from '@sinclair/typebox'
import { parseOptions } from '../../../plugins/lib/options.ts'
import { createRemote, type RemoteSettings } from '../../../plugins/lib/remote.ts'
import type { DeployedApp, Deployer, Running } from '../port.ts'
import { authorization, type Machine, MachinesApi } from './api.ts'
import { FlyApps, PREFIX } from './apps.ts'
import { all, converge } from './converge.ts'
import { FlyLogs } from './logs.ts'
import { isGone, isHealthy, isOpen, isStarted, labelsOf } from './machines.ts'
import { measure } from './metrics.ts'
import { Rollout } from './rollout.ts'

const ms = (value: number, description: string) => Type.Integer({ default: value, minimum: 0, description })

export const FlyOptions = Type.Object(
  {
    token: Type.String({ minLength: 1, description: 'API token of Fly, for the organization.' }),
    organization: Type.String({ minLength: 1, description: 'The slug of the organization that owns the apps.' }),
    apiUrl: Type.String({ default: 'https://api.machines.dev', description: 'URL of the Machines API.' }),
    graphqlUrl: Type.String({
      default: 'https://api.fly.io/graphql',
      description: 'URL of the GraphQL API; logs and metrics come from the same host.'
    }),
    appUrl: Type.String({
      default: 'https://{app}.fly.dev',
      description: 'URL of an app; {app} is its name at Fly.'
    }),
    start: ms(300_000, 'Milliseconds for a machine to start.'),
    stop: ms(40_000, 'Milliseconds between SIGTERM and SIGKILL of an app.'),
    health: ms(180_000, 'Milliseconds for a started app to be healthy.'),
    healthInterval: ms(5_000, 'Milliseconds between health checks.'),
    propagation: ms(10_000, 'Milliseconds until all Fly proxies route to a machine.'),
    drain: ms(10_000, 'Milliseconds for requests in flight to end before a replaced machine is stopped.'),
    rounds: Type.Integer({ default: 8, minimum: 1, description: 'How often a step is tried until it takes effect.' }),
    pause: ms(1_000, 'Milliseconds between attempts at a step, and between polls of a starting or stopping machine.'),
    logPoll: ms(1_000, 'Milliseconds between polls for new log lines of an app.'),
    logPause: ms(30_000, 'The longest pause between these polls while Fly fails.'),
    concurrency: Type.Integer({
      default: 8,
      minimum: 1,
      description: 'Number of apps whose machines are listed at the same time.'
    })
  },
  { additionalProperties: false }
)
export type FlyOptions = Static<typeof FlyOptions>

export interface FlyDeps {
  registry?: Registry | undefined
  /** The current token, in place of the option, if it can change while the server runs. */
  token?: (() => string) | undefined
  /** Settings for calls to Fly, for tests. */
  remote?: Partial<RemoteSettings>
}

export interface FlyDeployer extends Deployer {
  /** @throws RemoteError unless Fly answers and accepts our token */
  ping(signal?: AbortSignal): Promise<void>
}

export type FlyInput = Partial<FlyOptions> & Pick<FlyOptions, 'token' | 'organization'>

/** Runs each app as a Fly app, and each of its releases as a machine. */
export function flyDeployer(input: FlyInput, deps: FlyDeps = {}): FlyDeployer {
  const options = parseOptions('rhone-deployer-fly', FlyOptions, input)
  const token = deps.token ?? (() => options.token)
  const graphqlUrl = new URL(options.graphqlUrl)
  const remote = (baseUrl: string) =>
    createRemote({
      service: 'fly',
      headers: () => ({ authorization: authorization(token()) }),
      timeout: 30_000,
      deadline: 60_000,
      registry: deps.registry,
      ...deps.remote,
      baseUrl: baseUrl.replace(/\/$/, '')
    })
  const api = new MachinesApi(remote(options.apiUrl), options.organization)
  const platform = remote(graphqlUrl.origin)
  const apps = new FlyApps(api, platform, graphqlUrl.pathname, options)
  const rollout = new Rollout(api, options)
  const logs = new FlyLogs(platform, api, { poll: options.logPoll, longestPause: options.logPause })

  function nameOf(app: DeployedApp): string {
    const name = apps.nameOf(app)
    if (name === null) throw new Error(`fly: app ${app.id} was never started there`)
    return name
  }

  return {
    name: 'fly',
    ping: signal => api.ping(signal),

    urlOf(app) {
      const name = apps.nameOf(app)
      return name === null ? null : options.appUrl.replace('{app}', name)
    },

    async prepare(app, context) {
      await apps.ensure(app, context)
    },

    async start(release, context) {
      const name = await apps.ensure(release.app, context)
      await rollout.start(name, release, context)
    },

    serve: async (release, context) => rollout.serve(nameOf(release.app), release.deploymentId, context),

    async retire(app, keep, signal) {
      const name = apps.nameOf(app)
      if (name !== null) await rollout.retire(name, keep, signal)
    },

    async destroy(app, signal) {
      const name = apps.nameOf(app)
      if (name === null) return
      await converge(options, signal, async () => {
        const owner = await api.owner(name, signal)
        // An app missing from our list belongs to someone else who took the name we drew. With an invalid token every
        // app would look foreign, but then the list would fail, too.
        const isGone = owner === null || (owner === 'others' && !(await api.apps(signal)).includes(name))
        if (!isGone) await api.deleteApp(name, signal)
        return isGone || undefined
      })
    },

    async running(signal) {
      const names = (await api.apps(signal)).filter(name => name.startsWith(PREFIX))
      const found: Running[] = []
      const next = names.values()
      const worker = async () => {
        for (const name of next) found.push(...runningOf(name, await api.machines(name, signal)))
      }
      await all(Array.from({ length: options.concurrency }), worker)
      return found
    },

    async *logs(app, since, signal) {
      const name = apps.nameOf(app)
      // An app without a name has no log; following starts over once it is named.
      if (name !== null) yield* logs.follow(app, name, since, signal)
      else if (!signal.aborted) await once(signal, 'abort')
    },

    async metrics(app, signal) {
      const name = nameOf(app)
      const machines = (await api.machines(name, signal)).filter(machine => labelsOf(machine) !== null)
      return measure(platform, options.organization, name, machines, signal)
    }
  }
}

function runningOf(flyAppId: string, machines: readonly Machine[]): Running[] {
  return machines.flatMap(machine => {
    const labels = labelsOf(machine)
    if (labels === null || isGone(machine)) return []
    const isServing = isOpen(machine) && isStarted(machine)
    return [{ ...labels, flyAppId, isServing, isHealthy: isHealthy(machine) }]
  })
}
