import { auditLogFor } from './audit-log.ts'
import { CommandError, defineCommand, UsageError } from './command.ts'
import { connect } from './connect.ts'
import { facts } from './format.ts'

export const auditVerify = defineCommand({
  name: 'audit verify',
  summary:
    'Verify the audit log against its signed hash chain, and list rows that were changed, removed, moved or inserted.',
  printsData: true,
  async run(input) {
    // Reads the database directly: the server under verification must not answer for itself.
    const { withDatabase } = await import('./database.ts')
    const { verifyAudit } = await import('../domain/audit/verify.ts')
    const log = await auditLogFor(input)
    const report = await withDatabase(input, db => verifyAudit(db, log.keys))
    const { problems, truncated, ...counts } = report
    const lines = problems.map(({ message }) => `  ${message}`)
    const verdict = problems.length === 0 ? 'the audit log is intact' : 'the audit log was TAMPERED with:'
    const text = [facts(numbers(counts)), verdict, ...lines, ...(truncated ? ['  and more'] : [])].join('\n')
    return { data: report, text, failed: problems.length > 0 }
  }
})

function numbers(counts: Readonly<Record<string, number>>): Record<string, string> {
  return Object.fromEntries(Object.entries(counts).map(([name, value]) => [name, String(value)]))
}

export const auditExport = defineCommand({
  name: 'audit export',
  summary: 'Print the audit log, oldest first, one row per line.',
  options: {
    format: { type: 'string', value: 'ndjson|csv', description: 'Default: ndjson.' },
    from: { type: 'string', value: '<date>', description: 'Start time. Default: the beginning.' },
    to: { type: 'string', value: '<date>', description: 'End time, exclusive. Default: now.' }
  },
  async run(input) {
    const { options, write } = input
    const { format = 'ndjson', from, to } = options
    if (format !== 'ndjson' && format !== 'csv') throw new UsageError(`"${format}" is not a format; use ndjson or csv`)
    const query = new URLSearchParams({
      format,
      ...(from !== undefined && { since: instant(from) }),
      until: to === undefined ? new Date().toISOString() : instant(to)
    })
    let last = '\n'
    for await (const part of (await connect(input)).stream(`/admin/audit/export?${query}`)) {
      await write(part)
      last = part.at(-1) ?? last
    }
    if (last !== '\n') throw new CommandError('the export was interrupted; the output is incomplete')
    return undefined
  }
})

function instant(text: string): string {
  const at = /^\d{4}-\d{2}(-\d{2}|$)/.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(at))
    throw new UsageError(`"${text}" is not a date; use one such as 2030-01-31 or 2030-01-31T18:00:00Z`)
  return new Date(at).toISOString()
}
