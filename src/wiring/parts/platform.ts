import { platformReadings } from '../../domain/platform/gauges.ts'
import type { Part } from '../../kernel/part.ts'
import { machineReadings } from '../machine-readings.ts'

/** What operators observe and switch. */
const platform: Part = {
  name: 'platform',
  startSteps: (_config, app) => [{ name: 'maintenance', run: async () => app.maintenance?.refresh() }],
  gauges: ({ dataDir, memoryLimit }, { db }) => [
    ...platformReadings(() => db),
    ...machineReadings(dataDir, memoryLimit)
  ],
  errorSinks: (_config, app) => [failure => app.recentErrors?.note(failure)]
}

export default platform
