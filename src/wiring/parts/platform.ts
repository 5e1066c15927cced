import { platformReadings } from '../../domain/platform/gauges.ts'
import type { Part } from '../../kernel/part.ts'

/** What operators look at, and switch. */
const platform: Part = {
  name: 'platform',
  startSteps: (_config, app) => [{ name: 'maintenance', run: async () => app.maintenance?.refresh() }],
  gauges: (_config, { db }) => platformReadings(() => db),
  errorSinks: (_config, app) => [failure => app.recentErrors?.note(failure)]
}

export default platform
