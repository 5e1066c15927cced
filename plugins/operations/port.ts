/** Series of a metric, and how to aggregate them. */
export interface Selection {
  readonly metric: string
  /** The labels to keep; series that are then equal are merged. */
  readonly by?: readonly string[]
  /** How to merge them; default: sum. */
  readonly combine?: 'sum' | 'max' | 'min'
  /** Includes only series with one of these values of a label. */
  readonly where?: Readonly<Record<string, readonly string[]>>
  /** Excludes series with one of these values. */
  readonly except?: Readonly<Record<string, readonly string[]>>
}

/** What to draw from this instance's own samples. Windows are in seconds. */
export type LiveQuery = { readonly legend?: string } & (
  | { readonly show: 'level'; readonly of: Selection }
  | { readonly show: 'rate'; readonly of: Selection }
  | { readonly show: 'increase'; readonly of: Selection; readonly window: number }
  /** A ratio of increases within the window; without a window, of those between two samples. */
  | { readonly show: 'ratio'; readonly of: Selection; readonly over: Selection; readonly window?: number }
  /** A ratio of levels. */
  | { readonly show: 'share'; readonly of: Selection; readonly over: Selection }
  /** `of` is a histogram. */
  | { readonly show: 'quantile'; readonly of: Selection; readonly quantile: number }
)

export interface LivePanel {
  readonly id: string
  readonly title: string
  readonly unit: string
  readonly kind: 'stat' | 'graph'
  readonly threshold?: { readonly value: number; readonly bad: 'above' | 'below' }
  /** PromQL, with `$__rate_interval` as the interval of rates. */
  readonly query: string
  /** The name of a series, with its labels in double braces. */
  readonly legend: string
  /** The same from this instance's own samples; absent where those say nothing. */
  readonly live?: readonly LiveQuery[]
}

/** A panel with its data, in uPlot's format. */
export interface Chart {
  readonly id: string
  readonly title: string
  readonly unit: string
  readonly kind: 'stat' | 'graph'
  readonly threshold: { readonly value: number; readonly bad: 'above' | 'below' } | null
  /** The names of the series. */
  readonly series: string[]
  /** First the times, in seconds since 1970, then the values of each series at these times. */
  readonly data: (number | null)[][]
}

export interface Range {
  /** Seconds since 1970. */
  readonly start: number
  readonly end: number
  /** Seconds between two points. */
  readonly step: number
}

export interface RangeSeries {
  readonly labels: Readonly<Record<string, string>>
  /** Times in seconds since 1970, ascending, with their values. */
  readonly points: readonly (readonly [number, number])[]
}

/** The data of a monitoring system, beyond this instance. Rejects when it cannot be queried. */
export interface HistorySource {
  range(query: string, range: Range, signal: AbortSignal): Promise<readonly RangeSeries[]>
  /** The sum of the query's current results; null if there are none. */
  now(query: string, signal: AbortSignal): Promise<number | null>
}
