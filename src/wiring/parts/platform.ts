import { platformReadings } from '../../domain/platform/gauges.ts'
import type { Part } from '../../kernel/part.ts'
import { machineReadings } from '../machine-readings.ts'
import { SECOND } from './intervals.ts'

/** The most history that a crash can lose. */
const STATUS_INTERVAL = 30 * SECOND

/** What operators observe and control. */
const platform: Part = {
  name: 'platform',
  startSteps: (_config, app) => [
    { name: 'maintenance', run: async () => app.maintenance?.refresh() },
    { name: 'caches', run: async () => app.cache?.warmUp() }
  ],
  gauges: ({ dataDir, memoryLimit }, { db }) => [
    ...platformReadings(() => db),
    ...machineReadings(dataDir, memoryLimit)
  ],
  chores: (_config, app) => [{ name: 'status', every: STATUS_INTERVAL, run: async () => app.status?.sync() }],
  errorSinks: (_config, app) => [
    failure => app.recentErrors?.note(failure),
    failure => app.errorTracking?.capture(failure)
  ]
}

export default platform
