import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse } from 'yaml'

interface Alert {
  readonly alert: string
  readonly labels: { readonly severity: string; readonly response_minutes: string }
}

const ORDER = ['critical', 'high', 'medium', 'low'] as const
const MARKED = /(<!-- severities -->\n).*?(<!-- \/severities -->)/s

/** The table of severities, from the rules. */
export async function severityTable(): Promise<string> {
  const { groups } = parse(await readFile(join(import.meta.dirname, 'alerts.yml'), 'utf8')) as {
    groups: { rules: Alert[] }[]
  }
  const alerts = groups.flatMap(({ rules }) => rules)
  const rows = ORDER.map(severity => {
    const own = alerts.filter(({ labels }) => labels.severity === severity)
    const minutes = Number(own[0]?.labels.response_minutes)
    const names = own.map(({ alert }) => `[${alert}](RUNBOOK.md#${alert.toLowerCase()})`).join(', ')
    return `| ${severity} | ${minutes < 1440 ? `${minutes} minutes` : 'next business day'} | ${names} |\n`
  })
  return `| severity | response within | alerts |\n|---|---|---|\n${rows.join('')}`
}

/** The document with the table between its markers. */
export function withSeverities(document: string, table: string): string {
  return document.replace(MARKED, (_all, open, close) => `${open}\n${table}\n${close}`)
}
