import type { Metric, Registry } from '@platformatic/prom-client'
import { UNMATCHED } from '../lib/request-tracker.ts'

/** Values of the label `method`. Node's parser accepts some thirty more, and clients choose among them. */
const METHODS = ['OTHER', 'GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const
const METHOD_INDEX: ReadonlyMap<string, number> = new Map(METHODS.map((method, index) => [method, index]))

/** The `path` of everything beyond the cap. */
const OVERFLOW = '__overflow__'

/** Separates method and status in a series key. */
const STATUS_SPAN = 1000

/** Not timed: these last as long as the client listens, and would distort the other durations. */
const UNTIMED = 'stream'

interface Series {
  readonly labels: { readonly method: string; readonly path: string; readonly status: string }
  readonly isTimed: boolean
  readonly buckets: number[]
  count: number
  sum: number
}

/** The counters of one route. The route holds a reference, so that the end of a request needs no lookup by name. */
export interface RouteSeries {
  readonly path: string
  /** Service level class by method. */
  readonly slos: Map<string, string>
  readonly byKey: Map<number, Series>
}

export interface HttpSeriesOptions {
  /** Upper bounds of the histogram, in seconds, ascending. */
  buckets: readonly number[]
  /** Maximum number of combinations of method, path and status. */
  maxSeries: number
  inFlight: () => number
}

/**
 * Counts and durations of HTTP requests, as numbers in arrays that are found without hashing labels. A scrape renders
 * them as text.
 */
export class HttpSeries {
  readonly #bounds: readonly number[]
  readonly #maxSeries: number
  readonly #routes = new Map<string, RouteSeries>()
  readonly #all: Series[] = []
  /** How many of them have counted anything. */
  #seen = 0
  readonly #overflow: RouteSeries
  readonly unmatched: RouteSeries

  constructor(registry: Registry, { buckets, maxSeries, inFlight }: HttpSeriesOptions) {
    this.#bounds = buckets
    this.#maxSeries = maxSeries
    this.unmatched = this.route(UNMATCHED)
    this.#overflow = this.route(OVERFLOW)
    this.#register(registry, inFlight)
  }

  /** Returns the counters of a route pattern, and adds the route's methods and service level class. */
  route(path: string, methods: readonly string[] = [], slo = 'none'): RouteSeries {
    const route = this.#routes.get(path) ?? { path, slos: new Map(), byKey: new Map() }
    this.#routes.set(path, route)
    for (const method of methods) if (!route.slos.has(method)) route.slos.set(method, slo)
    return route
  }

  /** Starts these series at zero: `rate()` cannot see the event that creates a series. */
  expect(route: RouteSeries, methods: readonly string[], statuses: readonly number[]): void {
    for (const method of methods)
      for (const status of statuses) {
        const key = (METHOD_INDEX.get(method) ?? 0) * STATUS_SPAN + status
        if (this.#all.length < this.#maxSeries && !route.byKey.has(key)) this.#open(route, key)
      }
  }

  count(route: RouteSeries, method: string, status: number, seconds: number): void {
    const key = (METHOD_INDEX.get(method) ?? 0) * STATUS_SPAN + status
    const series = route.byKey.get(key) ?? this.#open(route, key)
    if (series.count++ === 0) this.#seen++
    if (!series.isTimed) return
    series.sum += seconds
    let bucket = 0
    while (bucket < this.#bounds.length && seconds > this.#bounds[bucket]!) bucket++
    series.buckets[bucket]!++
  }

  #open(route: RouteSeries, key: number): Series {
    const isFull = this.#seen >= this.#maxSeries && route !== this.#overflow
    if (isFull) return this.#overflow.byKey.get(key) ?? this.#open(this.#overflow, key)

    const method = METHODS[Math.floor(key / STATUS_SPAN)]!
    const series: Series = {
      labels: { method, path: route.path, status: String(key % STATUS_SPAN) },
      isTimed: route.slos.get(method) !== UNTIMED,
      buckets: new Array(this.#bounds.length + 1).fill(0),
      count: 0,
      sum: 0
    }
    this.#all.push(series)
    route.byKey.set(key, series)
    return series
  }

  #register(registry: Registry, inFlight: () => number): void {
    const metric = (name: string, type: string, help: string, values: () => Sample[]) =>
      registry.registerMetric(new Exposition(name, type, help, values) as unknown as Metric)

    metric(
      'rhone_http_requests_total',
      'counter',
      'Total number of HTTP requests, by status; 499: the client disconnected.',
      () => this.#all.map(({ count, labels }) => ({ value: count, labels: {}, sharedLabels: labels }))
    )
    metric(
      'rhone_http_request_duration_seconds',
      'histogram',
      'Seconds from the request head to the end of the reply; without streams.',
      () => this.#all.filter(({ isTimed, count }) => isTimed && count > 0).flatMap(series => this.#histogram(series))
    )
    metric('rhone_http_requests_in_flight', 'gauge', 'HTTP requests in flight.', () => [
      { value: inFlight(), labels: {} }
    ])
    metric('rhone_http_route_info', 'gauge', 'Routes and their service level class; always 1.', () =>
      [...this.#routes.values()].flatMap(({ path, slos }) =>
        [...slos].map(([method, slo]) => ({ value: 1, labels: { method, path, slo } }))
      )
    )
  }

  #histogram({ buckets, count, labels, sum }: Series): Sample[] {
    const name = 'rhone_http_request_duration_seconds'
    let cumulative = 0
    return [
      ...buckets.map((inBucket, index) => {
        cumulative += inBucket
        const le = this.#bounds[index] ?? '+Inf'
        return { metricName: `${name}_bucket`, value: cumulative, labels: { le }, sharedLabels: labels }
      }),
      { metricName: `${name}_sum`, value: sum, labels: {}, sharedLabels: labels },
      { metricName: `${name}_count`, value: count, labels: {}, sharedLabels: labels }
    ]
  }
}

/** `sharedLabels` are rendered once and cached by object identity. */
interface Sample {
  metricName?: string
  value: number
  labels: Readonly<Record<string, string | number>>
  sharedLabels?: Readonly<Record<string, string>>
}

/** The part of a metric that a registry uses. */
class Exposition {
  readonly aggregator = 'sum'
  readonly name: string
  readonly type: string
  readonly help: string
  readonly #values: () => Sample[]

  constructor(name: string, type: string, help: string, values: () => Sample[]) {
    this.name = name
    this.type = type
    this.help = help
    this.#values = values
  }

  get() {
    const { name, type, help, aggregator } = this
    return { name, type, help, aggregator, values: this.#values() }
  }

  /** Totals only grow; `registry.resetMetrics()` does not affect them. */
  reset(): void {}
}
