import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { type PluginInput, parseOptions } from './lib/options.ts'

export const RecentErrorsOptions = Type.Object(
  {
    flushInterval: Type.Integer({
      default: 5_000,
      minimum: 1,
      description: 'Milliseconds between writes of the counts.'
    })
  },
  { additionalProperties: false }
)
export type RecentErrorsOptions = Static<typeof RecentErrorsOptions>

export interface ServerError {
  readonly code: string
  /** The route's method and pattern. */
  readonly route: string
  readonly requestId: string
}

/** Where server errors are counted. */
export interface ErrorJournal {
  /** Counts an error; cheap, never waits. */
  note(error: ServerError): void
  /** Writes what was counted since the last flush. */
  flush(): Promise<void>
}

export interface RecentErrorsDeps {
  /** Without one, errors appear only in the log and the metrics. */
  journal?: ErrorJournal
}

declare module 'fastify' {
  interface FastifyInstance {
    recentErrors: Pick<ErrorJournal, 'note'>
  }
}

/** Records server errors for operators, without a write in the path of a request that has just failed. */
const recentErrors: FastifyPluginAsync<PluginInput<typeof RecentErrorsOptions, RecentErrorsDeps>> = async (
  app,
  input
) => {
  const { flushInterval } = parseOptions('rhone-recent-errors', RecentErrorsOptions, input, ['journal'])
  const { journal = { note: () => {}, flush: async () => {} } } = input

  const flush = () =>
    journal.flush().catch(error => app.log.warn({ err: error }, 'recent errors could not be written; they are retried'))
  const timer = setInterval(flush, flushInterval).unref()
  app.addHook('onClose', async () => {
    clearInterval(timer)
    await flush()
  })

  app.decorate('recentErrors', { note: error => journal.note(error) })
}

export default fp(recentErrors, { name: 'rhone-recent-errors', fastify: '5.x' })
