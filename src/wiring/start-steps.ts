import type { FastifyInstance } from 'fastify'
import { migrate } from '../../drizzle/migrate.ts'
import type { Config } from '../config/index.ts'
import { noteSecrets } from '../domain/secrets/ledger.ts'
import { ensureFirstOperator } from './first-operator.ts'
import { secretsOf } from './secrets.ts'

/** What is done, in this order, before requests are served. */
export function stepsOfStart(config: Config, app: FastifyInstance) {
  const { database, dataDir, defaultPlan, keys } = config
  return {
    migrations: () => migrate({ url: database.directUrl!, log: app.log }),
    operator: () => ensureFirstOperator(app.db, dataDir, defaultPlan),
    secrets: () => noteSecrets(app.db, keys.encryption!, secretsOf(config)),
    maintenance: async () => app.maintenance?.refresh(),
    jobs: async () => app.jobs?.start()
  }
}
