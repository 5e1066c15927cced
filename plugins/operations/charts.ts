import type { Column, SampleRing, SampleTrack } from './memory.ts'
import type { Chart, HistorySource, LivePanel, LiveQuery, Range } from './port.ts'
import { boundOf, quantileOf } from './quantile.ts'

/** Maximum points of a chart: about one per two pixels. */
const MAX_POINTS = 240
/** Maximum series of a chart: more cannot be told apart. */
const MAX_SERIES = 20
/** Maximum concurrent queries to Prometheus. */
const AT_A_TIME = 6
/** Minimum seconds that a rate spans: four scrapes. */
const RATE_INTERVAL = 60

type Line = readonly [label: string, values: (number | null)[]]

/** Draws panels from this instance's own samples. */
export class LiveCharts {
  readonly #memory: SampleRing
  readonly #panels: readonly { panel: LivePanel; lines: ((ages: readonly number[]) => Line[])[] }[]

  constructor(memory: SampleRing, panels: readonly LivePanel[]) {
    this.#memory = memory
    this.#panels = panels
      .filter(({ live }) => live !== undefined)
      .map(panel => ({ panel, lines: panel.live!.map(query => this.#prepare(query, query.legend ?? panel.legend)) }))
  }

  /** @param seconds how far back to draw */
  draw(seconds: number): Chart[] {
    const oldest = this.#memory.length === 0 ? -1 : this.#memory.ageBefore(0, seconds)
    const stride = Math.ceil((oldest + 1) / MAX_POINTS)
    const ages: number[] = []
    for (let age = 0; age <= oldest; age += stride) ages.unshift(age)
    const times = ages.map(age => Math.round(this.#memory.timeOf(age) / 1_000))
    return this.#panels.map(({ panel, lines }) =>
      chartOf(
        panel,
        times,
        lines.flatMap(line => line(ages))
      )
    )
  }

  #prepare(query: LiveQuery, legend: string): (ages: readonly number[]) => Line[] {
    const memory = this.#memory
    if (query.show === 'quantile') {
      const { by = [], metric } = query.of
      const track = memory.track({ ...query.of, metric: `${metric}_bucket`, by: [...by, 'le'] })
      return ages => this.#quantiles(track, query.quantile, legend, ages)
    }
    const of = memory.track(query.of)
    if (query.show === 'level') return ages => linesOf(of, legend, column => ages.map(age => memory.at(column, age)))
    if (query.show === 'rate')
      return ages =>
        linesOf(of, legend, column =>
          this.#steps(ages, (older, newer) => memory.growth(column, older, newer) / memory.secondsBetween(older, newer))
        )
    if (query.show === 'increase')
      return ages =>
        linesOf(of, legend, column => ages.map(age => memory.growth(column, memory.ageBefore(age, query.window), age)))

    const over = memory.track(query.over)
    const isLevel = query.show === 'share'
    const window = query.show === 'ratio' ? query.window : undefined
    const amount = (column: Column, older: number, newer: number) =>
      isLevel ? memory.at(column, newer) : memory.growth(column, older, newer)
    return ages =>
      linesOf(of, legend, column => {
        const base = baseOf(over, column)
        const ratio = (older: number, newer: number) => {
          const whole = base === undefined ? Number.NaN : amount(base, older, newer)
          return whole > 0 ? amount(column, older, newer) / whole : Number.NaN
        }
        if (window === undefined && !isLevel) return this.#steps(ages, ratio)
        return ages.map(age => ratio(window === undefined ? age : memory.ageBefore(age, window), age))
      })
  }

  #quantiles(track: SampleTrack, quantile: number, legend: string, ages: readonly number[]): Line[] {
    const memory = this.#memory
    const groups = Map.groupBy(track.columns.values(), ({ labels: { le: _le, ...labels } }) => JSON.stringify(labels))
    return [...groups.values()].map(columns => {
      const values = this.#steps(
        ages,
        (older, newer) =>
          quantileOf(
            columns.map(column => [boundOf(column.labels.le), memory.growth(column, older, newer)] as const),
            quantile
          ) ?? Number.NaN
      )
      return [labelled(legend, columns[0]!.labels), values.map(known)]
    })
  }

  /** One value per pair of a sample and its predecessor; none for the first sample. */
  #steps(ages: readonly number[], value: (older: number, newer: number) => number): number[] {
    return ages.map((age, index) => (index === 0 ? Number.NaN : value(ages[index - 1]!, age)))
  }
}

/** The series with the same labels, or the only one. */
function baseOf({ columns }: SampleTrack, { labels }: Column): Column | undefined {
  const all = [...columns.values()]
  return all.find(other => Object.entries(other.labels).every(([label, value]) => labels[label] === value))
}

function linesOf({ columns }: SampleTrack, legend: string, valuesOf: (column: Column) => number[]): Line[] {
  return [...columns.values()].map(column => [labelled(legend, column.labels), valuesOf(column).map(known)])
}

const known = (value: number): number | null => (Number.isFinite(value) ? Number(value.toPrecision(6)) : null)

function labelled(legend: string, labels: Readonly<Record<string, string>>): string {
  return legend.replace(/\{\{(\w+)\}\}/g, (_all, name) => labels[name] ?? '').trim()
}

/** Keeps the series with the highest peaks. */
function chartOf({ id, title, unit, kind, threshold }: LivePanel, times: number[], lines: Line[]): Chart {
  const highest = ([, values]: Line) => values.reduce<number>((high, value) => Math.max(high, value ?? -1), -1)
  const kept =
    lines.length <= MAX_SERIES ? lines : lines.toSorted((a, b) => highest(b) - highest(a)).slice(0, MAX_SERIES)
  return {
    ...{ id, title, unit, kind },
    threshold: threshold ?? null,
    series: kept.map(([label]) => label),
    data: [times, ...kept.map(([, values]) => values)]
  }
}

/** The range that ends now, rounded to whole steps. */
export function rangeOf(seconds: number, now: number): Range {
  const step = Math.max(15, Math.ceil(seconds / MAX_POINTS))
  const end = Math.floor(now / 1_000 / step) * step
  return { start: end - Math.floor(seconds / step) * step, end, step }
}

/** Draws all panels from the data of a monitoring system. @throws the first failure */
export async function drawHistory(
  history: HistorySource,
  panels: readonly LivePanel[],
  range: Range,
  signal: AbortSignal
): Promise<Chart[]> {
  const { start, end, step } = range
  const times = Array.from({ length: (end - start) / step + 1 }, (_, index) => start + index * step)
  const interval = `${Math.max(RATE_INTERVAL, step)}s`
  const charts = new Map<LivePanel, Chart>()
  const left = panels.values()
  const over = new AbortController()
  const until = AbortSignal.any([signal, over.signal])
  const worker = async () => {
    for (const panel of left) {
      const found = await history.range(panel.query.replaceAll('$__rate_interval', interval), range, until)
      const lines = found.map(({ labels, points }): Line => {
        const values = new Map(points)
        return [labelled(panel.legend, labels), times.map(time => known(values.get(time) ?? Number.NaN))]
      })
      charts.set(panel, chartOf(panel, times, lines))
    }
  }
  try {
    await Promise.all(Array.from({ length: AT_A_TIME }, worker))
  } finally {
    over.abort() // one failure ends the other queries
  }
  return panels.map(panel => charts.get(panel)!)
}
