import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import { loadPackages } from '../lib/packages.ts'
import type { Registry } from '../lib/registry.ts'
import { dropCounter } from '../lib/telemetry-drops.ts'
import type { ErrorTracking } from './port.ts'

export type * from './port.ts'

export const ErrorTrackingOptions = Type.Object(
  {
    dsn: Type.String({ default: '', description: 'The DSN of a Sentry project. Without one, nothing is reported.' }),
    release: Type.String({ default: '', description: 'The release that errors are attributed to.' }),
    environment: Type.String({ default: '', description: 'The environment, such as production.' }),
    perMinute: Type.Integer({ default: 60, minimum: 1, description: 'Maximum number of errors sent per minute.' }),
    timeout: Type.Integer({
      default: 5_000,
      minimum: 1,
      description: 'Timeout for a reply of Sentry, in milliseconds.'
    }),
    shutdown: Type.Integer({
      default: 2_000,
      minimum: 0,
      description: 'Milliseconds for which app.close() waits for errors to be delivered.'
    })
  },
  { additionalProperties: false }
)
export type ErrorTrackingOptions = Static<typeof ErrorTrackingOptions>

export interface ErrorTrackingDeps {
  registry?: Registry
}

declare module 'fastify' {
  interface FastifyInstance {
    errorTracking: ErrorTracking
  }
}

const DSN = /^https?:\/\/[^@/\s]+@[^\s]+\/\d+$/

/**
 * Reports errors to Sentry: scrubbed, limited, and without effect on requests while Sentry fails. Sentry's package takes a
 * second and 50 MB to load, and is loaded only if there is a DSN.
 */
const errorTracking: FastifyPluginAsync<PluginInput<typeof ErrorTrackingOptions, ErrorTrackingDeps>> = async (
  app,
  input
) => {
  const { shutdown, ...options } = parseOptions('rhone-error-tracking', ErrorTrackingOptions, input, ['registry'])
  const drop = dropCounter(input.registry, 'errors')
  if (options.dsn === '') {
    app.decorate('errorTracking', { capture: () => {}, flush: async () => true })
    return
  }

  if (!DSN.test(options.dsn))
    throw new Error('rhone-error-tracking: option "dsn" is not a DSN, such as https://<key>@sentry.example.com/42')
  const load = () => import('./tracker.ts')
  const { Tracker } = await loadPackages('rhone-error-tracking', ['@sentry/node'], load)
  const tracker = new Tracker({
    ...options,
    registry: input.registry,
    drop,
    onFailure: error => app.log.warn({ err: error }, 'errors could not be delivered')
  })
  app.decorate<ErrorTracking>('errorTracking', tracker)
  app.addHook('onClose', () => tracker.close(shutdown))
}

export default fp(errorTracking, { name: 'rhone-error-tracking', fastify: '5.x' })
