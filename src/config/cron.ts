/** Times in UTC, as a cron expression of five fields: minute, hour, day of month, month, day of week. */
export interface Cron {
  readonly text: string
  /** The latest matching minute at or before `now`; null if there is none within four years. */
  previous(now: Date): Date | null
}

const MINUTE = 60_000
const FIELDS = [
  ['minute', 0, 59],
  ['hour', 0, 23],
  ['day of month', 1, 31],
  ['month', 1, 12],
  ['day of week', 0, 7]
] as const
/** Four years contain every date, including 29 February. */
const FARTHEST_DAYS = 4 * 366

/** @throws Error that names the wrong field */
export function parseCron(text: string): Cron {
  const parts = text.trim().split(/\s+/)
  if (parts.length !== FIELDS.length)
    throw new Error(
      `"${text}" must have five fields: minute, hour, day of month, month, day of week; such as "0 2 * * *"`
    )
  const [minutes, hours, days, months, weekdays] = FIELDS.map(([name, least, most], i) =>
    parseField(parts[i]!, name, least, most)
  ) as [Set<number>, Set<number>, Set<number>, Set<number>, Set<number>]
  if (weekdays.has(7)) weekdays.add(0)
  const anyDay = parts[2] === '*'
  const anyWeekday = parts[4] === '*'

  /** When both day fields are restricted, cron matches either. */
  function matchesDay(at: Date): boolean {
    const byDate = days.has(at.getUTCDate())
    const byWeekday = weekdays.has(at.getUTCDay())
    const isDay = anyDay || anyWeekday ? byDate && byWeekday : byDate || byWeekday
    return isDay && months.has(at.getUTCMonth() + 1)
  }

  return {
    text,
    previous(now) {
      const latest = Math.floor(now.getTime() / MINUTE) * MINUTE
      const midnight = new Date(latest).setUTCHours(0, 0, 0, 0)
      for (let day = 0; day < FARTHEST_DAYS; day++) {
        const start = midnight - day * 24 * 60 * MINUTE
        if (!matchesDay(new Date(start))) continue
        const times = [...hours].flatMap(hour => [...minutes].map(minute => start + (hour * 60 + minute) * MINUTE))
        const found = Math.max(...times.filter(time => time <= latest))
        if (Number.isFinite(found)) return new Date(found)
      }
      return null
    }
  }
}

/** `*`, `5`, `1-5`, `*` or a range with `/step`, and comma-separated lists of these. */
function parseField(text: string, name: string, least: number, most: number): Set<number> {
  const values = new Set<number>()
  for (const part of text.split(',')) {
    const [, range = '', low, high, step = '1'] = /^(\*|(\d{1,2})(?:-(\d{1,2}))?)(?:\/(\d{1,2}))?$/.exec(part) ?? []
    const from = range === '*' ? least : Number(low)
    const to = range === '*' || (high === undefined && part.includes('/')) ? most : Number(high ?? low)
    if (range === '' || from < least || to > most || from > to || Number(step) < 1)
      throw new Error(`"${text}" is not a valid ${name}: use numbers from ${least} to ${most}, ranges, lists or *`)
    for (let value = from; value <= to; value += Number(step)) values.add(value)
  }
  return values
}
