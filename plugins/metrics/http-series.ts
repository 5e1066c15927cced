import type { Metric, Registry } from '@platformatic/prom-client'
import { UNMATCHED } from '../lib/traffic.ts'

/** The values that the label `method` may have. Node's parser knows some thirty more, and clients choose among them. */
const METHODS = ['OTHER', 'GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const
const METHOD_INDEX: ReadonlyMap<string, number> = new Map(METHODS.map((method, index) => [method, index]))

/** The `path` of whatever no longer fits under the cap. */
const OVERFLOW = '__overflow__'

/** Sets the method apart from the status in a series' key. */
const STATUS_SPAN = 1000

/** Durations of these are as long as the client likes to listen; they would drown the rest. */
const UNTIMED = 'stream'

interface Series {
  readonly labels: { readonly method: string; readonly path: string; readonly status: string }
  readonly isTimed: boolean
  readonly buckets: number[]
  count: number
  sum: number
}

/** What is counted of one route. The route holds on to it, so that nothing is looked up by name when a request ends. */
export interface RouteSeries {
  readonly path: string
  /** Service level classes by method. */
  readonly slos: Map<string, string>
  readonly byKey: Map<number, Series>
}

export interface HttpSeriesOptions {
  /** Upper bounds of the histogram, in seconds, ascending. */
  buckets: readonly number[]
  /** How many combinations of method, path and status are kept apart. */
  maxSeries: number
  inFlight: () => number
}

/**
 * The counts and durations of HTTP requests, as numbers in arrays that are found without hashing any label. They turn
 * into text when they are scraped.
 */
export class HttpSeries {
  readonly #bounds: readonly number[]
  readonly #maxSeries: number
  readonly #routes = new Map<string, RouteSeries>()
  readonly #all: Series[] = []
  /** Of these, the ones that have counted anything. */
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

  /** The counts of the routes with this pattern; adds a route's methods and service level class. */
  route(path: string, methods: readonly string[] = [], slo = 'none'): RouteSeries {
    const route = this.#routes.get(path) ?? { path, slos: new Map(), byKey: new Map() }
    this.#routes.set(path, route)
    for (const method of methods) if (!route.slos.has(method)) route.slos.set(method, slo)
    return route
  }

  /** Begins these counts at zero: a rate is not seen of a series that begins with its first event. */
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
      'Total number of HTTP requests, by reply status; 499 is a client that left.',
      () => this.#all.map(({ count, labels }) => ({ value: count, labels: {}, sharedLabels: labels }))
    )
    metric(
      'rhone_http_request_duration_seconds',
      'histogram',
      'Seconds from the request head to the end of the reply; streams are left out.',
      () => this.#all.filter(({ isTimed, count }) => isTimed && count > 0).flatMap(series => this.#histogram(series))
    )
    metric('rhone_http_requests_in_flight', 'gauge', 'HTTP requests that are being answered.', () => [
      { value: inFlight(), labels: {} }
    ])
    metric('rhone_http_route_info', 'gauge', 'The routes and their service level class; always 1.', () =>
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

/** `sharedLabels` are rendered once and remembered by the identity of the object. */
interface Sample {
  metricName?: string
  value: number
  labels: Readonly<Record<string, string | number>>
  sharedLabels?: Readonly<Record<string, string>>
}

/** The part of a metric that a registry asks for. */
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

  /** Totals only ever grow; `registry.resetMetrics()` does not concern them. */
  reset(): void {}
}
