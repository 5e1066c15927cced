import type { Db } from '../base/db.ts'
import { type AuditEntry, type AuditFilters, readAudit } from './events.ts'

export const EXPORT_FORMATS = { ndjson: 'application/x-ndjson; charset=utf-8', csv: 'text/csv; charset=utf-8' } as const
export type ExportFormat = keyof typeof EXPORT_FORMATS

const COLUMNS = [
  'id',
  'createdAt',
  'type',
  'action',
  'outcome',
  'userId',
  'actor',
  'teamId',
  'appId',
  'resource',
  'resourceId',
  'resourceName',
  'details',
  'ip',
  'userAgent',
  'requestId'
] as const satisfies readonly (keyof AuditEntry)[]

/** A range of the audit log as text, oldest first. Memory use does not depend on its length. */
export async function* exportAudit(db: Db, filters: AuditFilters, format: ExportFormat): AsyncGenerator<string> {
  if (format === 'csv') yield `${COLUMNS.join(',')}\r\n`
  const line = format === 'csv' ? csvLine : jsonLine
  for await (const rows of readAudit(db, filters)) yield rows.map(line).join('')
}

function jsonLine(row: AuditEntry): string {
  return `${JSON.stringify(Object.fromEntries(COLUMNS.map(column => [column, row[column]])))}\n`
}

/** RFC 4180. */
function csvLine(row: AuditEntry): string {
  return `${COLUMNS.map(column => cell(row[column])).join(',')}\r\n`
}

function cell(value: AuditEntry[keyof AuditEntry]): string {
  if (value === null) return ''
  if (value instanceof Date) return value.toISOString()
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  // A spreadsheet would evaluate it as a formula, and clients choose their User-Agent.
  const harmless = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless
}
