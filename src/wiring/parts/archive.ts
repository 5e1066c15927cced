import { has } from '../../kernel/has.ts'
import type { Part } from '../../kernel/part.ts'

/** The archive of the embedded database's log. */
const archive: Part = {
  name: 'archive',
  chores: (_config, app) => (has(app, 'archive') ? app.archive.chores : []),
  gauges: (_config, app) => (has(app, 'archive') ? app.archive.readings : [])
}

export default archive
