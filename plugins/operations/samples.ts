import type { Selection } from './port.ts'

export interface Sample {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** The samples of some metrics, by the name of the metric. */
export type Samples = ReadonlyMap<string, readonly Sample[]>

const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g

/** Reads the wanted metrics of a scrape; every other line costs one comparison. */
export function readSamples(text: string, wanted: ReadonlySet<string>): Samples {
  const found = new Map<string, Sample[]>()
  for (let start = 0; start < text.length; ) {
    const newline = text.indexOf('\n', start)
    const end = newline < 0 ? text.length : newline
    if (text[start] !== '#') readLine(text.slice(start, end), wanted, found)
    start = end + 1
  }
  return found
}

function readLine(line: string, wanted: ReadonlySet<string>, found: Map<string, Sample[]>): void {
  const space = line.lastIndexOf(' ')
  const brace = line.indexOf('{')
  const name = line.slice(0, brace < 0 ? space : brace)
  if (!wanted.has(name)) return
  const labels: Record<string, string> = {}
  if (brace >= 0)
    for (const [, key, value] of line.slice(brace, space).matchAll(LABEL)) labels[key!] = value!.replace(/\\(.)/g, '$1')
  const samples = found.get(name) ?? []
  found.set(name, samples)
  samples.push({ labels, value: numberOf(line.slice(space + 1)) })
}

function numberOf(text: string): number {
  if (text === '+Inf') return Number.POSITIVE_INFINITY
  return text === '-Inf' ? Number.NEGATIVE_INFINITY : Number(text)
}

/** The selected series, by the remaining labels. */
export function select(samples: Samples, { metric, by = [], combine = 'sum', where = {}, except = {} }: Selection) {
  const groups = new Map<string, { labels: Record<string, string>; value: number }>()
  for (const { labels, value } of samples.get(metric) ?? []) {
    if (Object.entries(where).some(([label, values]) => !values.includes(labels[label] ?? ''))) continue
    if (Object.entries(except).some(([label, values]) => values.includes(labels[label] ?? ''))) continue
    const key = by.map(label => labels[label] ?? '').join('\n')
    const group = groups.get(key)
    if (group === undefined)
      groups.set(key, { labels: Object.fromEntries(by.map(label => [label, labels[label] ?? ''])), value })
    else group.value = COMBINE[combine](group.value, value)
  }
  return groups
}

const COMBINE = { sum: (a: number, b: number) => a + b, max: Math.max, min: Math.min } as const
