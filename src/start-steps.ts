import type { FastifyInstance } from 'fastify'
import { migrate } from '../drizzle/migrate.ts'
import type { Config } from './config.ts'
import { ensureFirstOperator } from './first-operator.ts'

/** What is done, in this order, before requests are served. */
export function stepsOfStart({ database, dataDir }: Config, app: FastifyInstance) {
  return {
    migrations: () => migrate({ url: database.directUrl!, log: app.log }),
    operator: () => ensureFirstOperator(app.db, dataDir),
    maintenance: async () => app.maintenance?.refresh(),
    jobs: async () => app.jobs?.start()
  }
}
