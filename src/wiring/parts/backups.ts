import { has } from '../../kernel/has.ts'
import type { Part } from '../../kernel/part.ts'

/** Scheduled backups, drills, and the age of the latest of each. */
const backups: Part = {
  name: 'backups',
  queues: (_config, app) => (has(app, 'backups') ? app.backups.queues : []),
  chores: (_config, app) => (has(app, 'backups') ? app.backups.chores : []),
  gauges: (_config, app) => (has(app, 'backups') ? app.backups.readings : [])
}

export default backups
