import type { FastifyInstance } from 'fastify'
import type { JobQueue } from '../plugins/jobs/index.ts'
import type { Config } from './config.ts'

/**
 * The work of the server that outlives a request. Any instance may do any of it: a job is one instance's until it is done,
 * fails, or the instance is not heard of.
 */
export function jobQueues(_app: FastifyInstance, _config: Config): JobQueue[] {
  return []
}
