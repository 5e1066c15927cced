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
  startSteps: (config, app) => [
    {
      name: 'migrations',
      async run() {
        // By then it is known which timelines others have seen.
        if (has(app, 'postgres') && app.postgres.copies !== undefined) await app.postgres.locate()
        await migrateDatabase(await primaryUrlOf(config, config.database.directUrl!), { log: app.log })
      }
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
