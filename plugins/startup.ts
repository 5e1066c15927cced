import { setTimeout as delay } from 'node:timers/promises'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { onEntry } from './lib/entry.ts'
import { errors } from './lib/errors.ts'
import { type PluginInput, parseOptions } from './lib/options.ts'
import { routeConfig, useRouteConfig } from './lib/route-config.ts'

export const StartupOptions = Type.Object(
  {
    retryInterval: Type.Integer({
      default: 1000,
      minimum: 1,
      description: 'Milliseconds between two attempts of a step whose dependency is away.'
    })
  },
  { additionalProperties: false }
)
export type StartupOptions = Static<typeof StartupOptions>

export interface StartupDeps {
  /** What must be done, in this order, before requests are served. A step that was done is not run again. */
  steps?: Readonly<Record<string, () => Promise<unknown>>>
  /** Whether a failed step may succeed later. The boot fails on any other error; by default on every one. */
  retryable?: (error: unknown) => boolean
}

export interface Startup {
  /** Whether every step is done. Until then, all but probes are refused with 503. */
  readonly done: boolean
  /** Settles when every step is done, or when one failed for good. */
  readonly completed: Promise<void>
}

declare module 'fastify' {
  interface FastifyInstance {
    startup: Startup
  }
}

/**
 * Runs the steps of a start. The first round is part of `app.ready()`; where a dependency is away, the app listens all
 * the same, so that it can say why it is not ready, and the steps go on in the background.
 */
const startup: FastifyPluginAsync<PluginInput<typeof StartupOptions, StartupDeps>> = async (app, input) => {
  const { retryInterval } = parseOptions('rhone-startup', StartupOptions, input, ['steps', 'retryable'])
  const retryable = input.retryable ?? (() => false)
  const pending = Object.entries(input.steps ?? {})
  const closing = new AbortController()
  const { promise: completed, resolve, reject } = Promise.withResolvers<void>()
  completed.catch(() => {}) // those who await it are told; where nobody does, the failure of `ready()` or the log says so
  let isDone = false

  app.decorate('startup', {
    get done() {
      return isDone
    },
    completed
  })

  /** Runs what is left, up to the first step whose dependency is away; says whether all is done. */
  async function runPending(): Promise<boolean> {
    for (let step = pending[0]; step !== undefined; step = pending[0]) {
      const [name, run] = step
      try {
        await run()
      } catch (error) {
        if (!retryable(error)) {
          reject(error)
          throw error
        }
        app.log.warn({ err: error, step: name }, 'start is waiting for a dependency')
        return false
      }
      pending.shift()
    }
    isDone = true
    resolve()
    return true
  }

  async function keepTrying(): Promise<void> {
    do await delay(retryInterval, undefined, { signal: closing.signal, ref: false })
    while (!(await runPending()))
    app.log.info('start is complete')
  }

  app.addHook('onReady', async () => {
    if (await runPending()) return
    keepTrying().catch(error => {
      if (!closing.signal.aborted) app.log.fatal({ err: error }, 'start has failed')
    })
  })
  app.addHook('onClose', async () => closing.abort())

  useRouteConfig(app)
  onEntry(app, request => {
    if (isDone || routeConfig(request).priority === 'probe') return
    return errors.unavailable(1, 'The server is starting')
  })
}

export default fp(startup, { name: 'rhone-startup', fastify: '5.x' })
