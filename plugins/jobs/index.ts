import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { errors } from '../lib/errors.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import { loadPackages } from '../lib/packages.ts'
import type { Registry } from '../lib/registry.ts'
import { AttemptEnded } from './failure.ts'
import { measureWaiting, OUTCOMES, outcomeCounter } from './metrics.ts'
import { type DeadJob, JOB_STATES, type JobQueue, type Jobs } from './port.ts'
import { checkQueues } from './queues.ts'

export type * from './port.ts'
export { AttemptEnded, JOB_STATES, OUTCOMES }

export const JobsOptions = Type.Object(
  {
    work: Type.Boolean({
      default: true,
      description: 'Whether this instance runs jobs. If not, it only sends them.'
    }),
    lease: Type.Number({
      default: 15,
      minimum: 1,
      description:
        'Seconds without a heartbeat after which an instance loses its jobs. Must be the same on all instances.'
    }),
    pollInterval: Type.Integer({
      default: 1_000,
      minimum: 10,
      description: 'Milliseconds between polls for jobs that are due. New jobs are announced by a notification.'
    }),
    grace: Type.Integer({
      default: 5_000,
      minimum: 0,
      description: 'Milliseconds for a job to end when it is cancelled, times out, or the server stops.'
    }),
    keepFinished: Type.Integer({
      default: 14,
      minimum: 1,
      description: 'Days for which finished jobs can be inspected and dead ones retried.'
    })
  },
  { additionalProperties: false }
)
export type JobsOptions = Static<typeof JobsOptions>

export interface JobsDeps {
  queues?: readonly JobQueue[]
  /** Whether the platform is closed for maintenance, which pauses queues with `pausedInMaintenance`. */
  isPaused?: () => boolean
  /** Called with each job that has failed for good: an error tracker. Must not block. */
  onDead?: (dead: DeadJob) => void
  registry?: Registry
}

declare module 'fastify' {
  interface FastifyInstance {
    jobs: Jobs
  }
}

/**
 * Work stored in PostgreSQL until done, in the transaction of its change. Each attempt belongs to one instance alone,
 * as long as that instance renews its claim. `app.jobs.start()` starts the work; without a database no job can be sent.
 */
const jobs: FastifyPluginAsync<PluginInput<typeof JobsOptions, JobsDeps>> = async (app, input) => {
  const options = parseOptions('rhone-jobs', JobsOptions, input, ['queues', 'isPaused', 'onDead', 'registry'])
  const { queues = [], isPaused = () => false, onDead = () => {}, registry } = input
  checkQueues(queues)
  if (!app.hasDecorator('db') || !app.hasDecorator('postgres')) {
    app.decorate('jobs', NO_JOBS)
    return
  }

  const load = () => Promise.all([import('./service.ts'), import('./statements.ts')])
  const [{ JobService }, { countWaiting }] = await loadPackages('rhone-jobs', ['pg-boss', 'drizzle-orm'], load)

  const names = queues.map(({ name }) => name)
  const service = new JobService({
    ...options,
    db: app.db,
    postgres: app.postgres,
    log: app.log,
    queues,
    isPaused,
    onDead,
    tracing: app.hasDecorator('tracing') ? app.tracing : undefined,
    count: outcomeCounter(registry, names)
  })
  measureWaiting(registry, names, () => countWaiting(app.db))
  app.decorate('jobs', service)

  // Attempts in flight are told to stop while requests finish; they have until the database is closed.
  app.addHook('preClose', async () => void service.stop())
  app.addHook('onClose', () => service.stop())
}

const refuse = () => Promise.reject(errors.notConfigured('A database for jobs'))
const NO_JOBS: Jobs = {
  start: async () => {},
  send: refuse,
  cancel: refuse,
  list: refuse,
  retry: refuse
}

export default fp(jobs, { name: 'rhone-jobs', fastify: '5.x' })
