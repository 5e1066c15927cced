/** `npm run dashboards`: generates Grafana's JSON from the panels, and the table of severities in ON-CALL from the rules. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { grafanaDashboard } from './grafana.ts'
import { dashboards } from './panels.ts'
import { severityTable, withSeverities } from './severities.ts'

for (const dashboard of dashboards) {
  const file = join(import.meta.dirname, 'dashboards', `${dashboard.uid.replace('rhone-', 'app-')}.json`)
  await writeFile(file, `${JSON.stringify(grafanaDashboard(dashboard), null, 2)}\n`)
}

const onCall = join(import.meta.dirname, '../docs/ON-CALL.md')
await writeFile(onCall, withSeverities(await readFile(onCall, 'utf8'), await severityTable()))
