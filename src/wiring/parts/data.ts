import type { DatabaseState } from '../../../plugins/database/index.ts'
import { ensurePartitions } from '../../domain/base/partitions.ts'
import { has } from '../../kernel/has.ts'
import type { Part } from '../../kernel/part.ts'
import { migrateDatabase } from '../migrations.ts'
import { primaryUrlOf } from '../primary-database.ts'
import { HOUR } from './intervals.ts'
import { PING_TIMEOUT, stateOf } from './service-state.ts'

/** The data stores that the rest of the server depends on. */
const data: Part = {
  name: 'data',
  startSteps: (config, { log }) => [
    {
      name: 'migrations',
      run: async () => migrateDatabase(await primaryUrlOf(config, config.database.directUrl!), { log })
    }
  ],
  services: (_config, app) => [
    { name: 'database', check: () => stateOf(has(app, 'db'), () => assertWritable(app.postgres.ping(PING_TIMEOUT))) },
    { name: 'redis', check: () => stateOf(has(app, 'redis'), () => app.redis.ping()) }
  ],
  chores: (_config, { db }) => [{ name: 'partitions', every: HOUR, run: async () => void (await ensurePartitions(db)) }]
}

/** A database that answers but cannot be written to is unhealthy. */
async function assertWritable(ping: Promise<DatabaseState>): Promise<void> {
  const state = await ping
  if (state !== 'writable') throw new Error(`the database is ${state}`)
}

export default data
