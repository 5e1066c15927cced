import { isWritable } from '../../plugins/lib/instant.ts'
import { UsageError } from './command.ts'
import { PLAIN, type Terminal } from './terminal.ts'
import { ellipsized, padTo, widthOf } from './width.ts'

/** Minimum width of a column. */
const NARROWEST = 8
const GAP = 2

/**
 * Formats rows under headings, in columns as wide as their widest cell. On a terminal, the widest columns are cut until
 * a row fits on one line; a pipe gets everything.
 */
export function table(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  terminal: Pick<Terminal, 'out' | 'columns'> = PLAIN
): string {
  const all = [headings.map(heading => heading.toUpperCase()), ...rows]
  const widths = headings.map((_, column) => Math.max(...all.map(row => widthOf(row[column] ?? ''))))
  const fitting = terminal.out ? narrowed(widths, terminal.columns) : widths
  return all
    .map(row =>
      row
        .map((cell, column) => padTo(ellipsized(cell, fitting[column] ?? 0), fitting[column] ?? 0))
        .join(' '.repeat(GAP))
        .trimEnd()
    )
    .join('\n')
}

function narrowed(widths: readonly number[], columns: number): readonly number[] {
  const shown = [...widths]
  let excess = shown.reduce((sum, width) => sum + width + GAP, -GAP) - columns
  while (excess > 0) {
    const widest = Math.max(...shown)
    if (widest <= NARROWEST) break
    shown[shown.indexOf(widest)]! -= 1
    excess -= 1
  }
  return shown
}

/** The facts about one object, one per line. */
export function facts(entries: Readonly<Record<string, string>>): string {
  const width = Math.max(...Object.keys(entries).map(widthOf))
  return Object.entries(entries)
    .map(([name, value]) => `${padTo(name, width)}  ${value}`)
    .join('\n')
}

const UNITS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Parses a future instant: a duration from now (`90s`, `30m`, `12h`, `30d`) or an ISO 8601 date. */
export function parseMoment(text: string, now = Date.now()): string {
  const [, amount, unit] = /^(\d+)([smhd])$/.exec(text) ?? []
  const at = amount && unit ? now + Number(amount) * UNITS[unit]! : isIsoDate(text) ? Date.parse(text) : Number.NaN
  if (!isWritable(at))
    throw new UsageError(
      `"${text}" is not a time; use a time from now such as 30m, or a date such as 2030-01-31T18:00:00Z`
    )
  if (at <= now) throw new UsageError(`"${text}" is in the past`)
  return new Date(at).toISOString()
}

/** `Date.parse` alone would accept "7" as a year and "may" as a month. */
function isIsoDate(text: string): boolean {
  return /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?$/.test(text)
}
