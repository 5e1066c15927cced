/** Series of a metric, and how to make fewer of them. */
export interface Selection {
  readonly metric: string
  /** The labels that remain; series that then look alike become one. */
  readonly by?: readonly string[]
  /** How those become one; sums by default. */
  readonly combine?: 'sum' | 'max' | 'min'
  /** Only series with one of these values of a label. */
  readonly where?: Readonly<Record<string, readonly string[]>>
  /** No series with one of these values. */
  readonly except?: Readonly<Record<string, readonly string[]>>
}

/** What is drawn of the samples that this instance remembers. Windows are in seconds. */
export type LiveQuery = { readonly legend?: string } & (
  | { readonly show: 'level'; readonly of: Selection }
  | { readonly show: 'rate'; readonly of: Selection }
  | { readonly show: 'increase'; readonly of: Selection; readonly window: number }
  /** Of increases within the window; of those between two samples without one. */
  | { readonly show: 'ratio'; readonly of: Selection; readonly over: Selection; readonly window?: number }
  /** Of levels. */
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
  /** PromQL, with `$__rate_interval` where the interval of rates goes. */
  readonly query: string
  /** What a series is called; its labels in double braces. */
  readonly legend: string
  /** The same out of what is remembered; absent where that says nothing. */
  readonly live?: readonly LiveQuery[]
}

/** A panel with its course, in the form that uPlot draws. */
export interface Chart {
  readonly id: string
  readonly title: string
  readonly unit: string
  readonly kind: 'stat' | 'graph'
  readonly threshold: { readonly value: number; readonly bad: 'above' | 'below' } | null
  /** What the series are called. */
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

/** What a monitoring system remembers beyond this instance. Rejects when it cannot be asked. */
export interface HistorySource {
  range(query: string, range: Range, signal: AbortSignal): Promise<readonly RangeSeries[]>
  /** The sum of what the query gives now; null if it gives nothing. */
  now(query: string, signal: AbortSignal): Promise<number | null>
}
