/** How to combine one series that several apps report. */
export type Rule = 'sum' | 'max' | 'min' | 'average' | 'first'

interface Family {
  readonly name: string
  /** Its HELP and TYPE lines. */
  readonly head: string[]
  type: string
  /** Values keyed by the text before the value, in order of first appearance. */
  readonly series: Map<string, number[]>
}

/** Process metrics, and facts about what is running, are the same in each app of the process. */
const SAME_EVERYWHERE = /^process_|_info$/

const RULES: Readonly<Record<Rule, (values: readonly number[]) => number>> = {
  sum: values => values.reduce((sum, value) => sum + value, 0),
  max: values => Math.max(...values),
  min: values => Math.min(...values),
  average: values => values.reduce((sum, value) => sum + value, 0) / values.length,
  first: ([first]) => first!
}

/**
 * Merges the expositions of several apps that appear as one instance. Counters and histograms are added up.
 *
 * @param gaugeRule how to combine the gauge of this name
 */
export function mergeExpositions(texts: readonly string[], gaugeRule: (name: string) => Rule): string {
  const merged = new Map<string, Family>()
  for (const text of texts) for (const family of familiesOf(text)) addTo(merged, family)
  return [...merged.values()].map(family => write(family, ruleOf(family, gaugeRule))).join('\n')
}

/** The part of an exposition that only grows: what remains of an app that has ended. */
export function totalsOf(texts: readonly string[]): string {
  const totals = new Map<string, Family>()
  for (const text of texts) for (const family of familiesOf(text)) if (isTotal(family)) addTo(totals, family)
  return [...totals.values()]
    .map(family =>
      write(
        family,
        ruleOf(family, () => 'max')
      )
    )
    .join('\n')
}

function ruleOf(family: Family, gaugeRule: (name: string) => Rule): Rule {
  if (SAME_EVERYWHERE.test(family.name)) return 'max'
  return isTotal(family) ? 'sum' : gaugeRule(family.name)
}

const isTotal = ({ type }: Family) => type === 'counter' || type === 'histogram'

function familiesOf(text: string): Family[] {
  const families: Family[] = []
  for (const line of text.split('\n')) {
    if (line === '') continue
    if (!line.startsWith('#')) {
      const end = line.lastIndexOf(' ')
      families.at(-1)?.series.set(line.slice(0, end), [parseValue(line.slice(end + 1))])
      continue
    }
    const [, keyword, name = '', rest] = line.split(' ', 4)
    if (families.at(-1)?.name !== name) families.push({ name, head: [], type: 'untyped', series: new Map() })
    families.at(-1)!.head.push(line)
    if (keyword === 'TYPE') families.at(-1)!.type = rest ?? 'untyped'
  }
  return families
}

function addTo(merged: Map<string, Family>, family: Family): void {
  const known = merged.get(family.name)
  if (known === undefined) {
    merged.set(family.name, family)
    return
  }
  for (const [key, values] of family.series) {
    const others = known.series.get(key)
    if (others === undefined) known.series.set(key, values)
    else others.push(...values)
  }
}

function write({ head, series }: Family, rule: Rule): string {
  const lines = [...series].map(([key, values]) => {
    const known = values.filter(value => !Number.isNaN(value))
    return `${key} ${formatValue(known.length === 0 ? Number.NaN : RULES[rule](known))}`
  })
  return `${[...head, ...lines].join('\n')}\n`
}

function parseValue(text: string): number {
  if (text === '+Inf') return Number.POSITIVE_INFINITY
  return text === '-Inf' ? Number.NEGATIVE_INFINITY : Number(text)
}

function formatValue(value: number): string {
  if (Number.isFinite(value) || Number.isNaN(value)) return String(value)
  return value > 0 ? '+Inf' : '-Inf'
}
