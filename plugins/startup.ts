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
      description: 'Milliseconds between attempts at a step whose dependency is unavailable.'
    })
  },
  { additionalProperties: false }
)
export type StartupOptions = Static<typeof StartupOptions>

export interface StartupDeps {
  /** Steps to complete, in this order, before requests are served. A completed step does not run again. */
  steps?: Readonly<Record<string, () => Promise<unknown>>>
  /** Whether a failed step may succeed later; by default always. Any other error fails the boot. */
  retryable?: (error: unknown) => boolean
}

export interface Startup {
  /** Whether every step is done. Until then, all requests but probes are refused with 503. */
  readonly done: boolean
  /** Settles when every step is done, or when one has failed for good. */
  readonly completed: Promise<void>
}

declare module 'fastify' {
  interface FastifyInstance {
    startup: Startup
  }
}

/**
 * Runs the startup steps. The first round is part of `app.ready()`. If a dependency is unreachable, the app listens
 * anyway, so that it can report why it is not ready, and the steps continue in the background.
 */
const startup: FastifyPluginAsync<PluginInput<typeof StartupOptions, StartupDeps>> = async (app, input) => {
  const { retryInterval } = parseOptions('rhone-startup', StartupOptions, input, ['steps', 'retryable'])
  const retryable = input.retryable ?? (() => false)
  const pending = Object.entries(input.steps ?? {})
  const closing = new AbortController()
  const { promise: completed, resolve, reject } = Promise.withResolvers<void>()
  completed.catch(() => {}) // callers that await it get the error; otherwise `ready()` or the log reports it
  let isDone = false

  app.decorate('startup', {
    get done() {
      return isDone
    },
    completed
  })

  /** Runs the remaining steps, up to the first one whose dependency is unreachable; returns whether all are done. */
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
      if (!closing.signal.aborted) app.log.fatal({ err: error }, 'start failed')
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
