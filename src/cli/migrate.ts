import { defineCommand } from './command.ts'
import { facts } from './format.ts'

export const migrate = defineCommand({
  name: 'migrate',
  summary: 'Migrate the database to the schema of this version; does nothing if it is current.',
  printsData: true,
  async run(input) {
    const { withDatabaseUrl } = await import('./database.ts')
    const { migrateDatabase } = await import('../wiring/migrations.ts')
    const report = await withDatabaseUrl(input, url => migrateDatabase(url))
    const listed = (names: readonly string[]) => names.join(', ') || 'none'
    return { data: report, text: facts({ applied: listed(report.applied), 'indexes built': listed(report.indexed) }) }
  }
})
