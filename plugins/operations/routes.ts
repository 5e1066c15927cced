import { boundOf, quantileOf } from './quantile.ts'
import { type Samples, select } from './samples.ts'

/** A route's requests and replies. Durations in seconds, over the window; null if nothing was timed. */
export interface RouteFigures {
  readonly method: string
  readonly path: string
  readonly requests: number
  readonly perSecond: number
  readonly errors: number
  readonly errorRatio: number
  readonly p50: number | null
  readonly p95: number | null
}

interface RouteTotals {
  requests: number
  errors: number
  readonly buckets: Map<number, number>
}

interface Snapshot {
  readonly measured: number
  readonly routes: ReadonlyMap<string, RouteTotals>
}

export const ROUTE_METRICS = ['rhone_http_requests_total', 'rhone_http_request_duration_seconds_bucket']

/** Seconds between two kept snapshots, and how many are kept: windows of 15 to 20 minutes. */
const APART = 300
const KEPT = 4
const MAX_ROUTES = 50

/** Rates, errors and durations by route. Routes have too many series to keep each sample, so few snapshots are kept. */
export class RouteLedger {
  readonly #kept: Snapshot[] = []
  #latest: Snapshot | undefined

  take(samples: Samples, measured: number): void {
    this.#latest = { measured, routes: totalsOf(samples) }
    const last = this.#kept.at(-1)
    if (last !== undefined && measured - last.measured < APART * 1_000) return
    this.#kept.push(this.#latest)
    if (this.#kept.length > KEPT) this.#kept.shift()
  }

  /** The busiest routes, and the seconds that these figures cover. */
  figures(): { seconds: number; items: RouteFigures[] } {
    const [latest, base] = [this.#latest, this.#kept[0]]
    if (latest === undefined || base === undefined || latest === base) return { seconds: 0, items: [] }
    const seconds = (latest.measured - base.measured) / 1_000
    const items = [...latest.routes]
      .map(([key, totals]) => figuresOf(key, totals, base.routes.get(key), seconds))
      .filter(({ requests }) => requests > 0)
      .sort((a, b) => b.requests - a.requests)
      .slice(0, MAX_ROUTES)
    return { seconds: Math.round(seconds), items }
  }
}

function totalsOf(samples: Samples): Map<string, RouteTotals> {
  const routes = new Map<string, RouteTotals>()
  const routeOf = ({ method, path }: Record<string, string>) => {
    const key = `${method} ${path}`
    const known = routes.get(key) ?? { requests: 0, errors: 0, buckets: new Map() }
    routes.set(key, known)
    return known
  }
  const [requests, durations] = ROUTE_METRICS as [string, string]
  for (const { labels, value } of select(samples, { metric: requests, by: ['method', 'path', 'status'] }).values()) {
    const route = routeOf(labels)
    route.requests += value
    if (labels.status!.startsWith('5')) route.errors += value
  }
  for (const { labels, value } of select(samples, { metric: durations, by: ['method', 'path', 'le'] }).values())
    routeOf(labels).buckets.set(boundOf(labels.le), value)
  return routes
}

function figuresOf(key: string, now: RouteTotals, before: RouteTotals | undefined, seconds: number): RouteFigures {
  const [method = '', path = ''] = key.split(' ')
  const requests = now.requests - (before?.requests ?? 0)
  const errors = now.errors - (before?.errors ?? 0)
  const buckets = [...now.buckets].map(([bound, count]) => [bound, count - (before?.buckets.get(bound) ?? 0)] as const)
  return {
    ...{ method, path, requests, errors },
    perSecond: Number((requests / seconds).toPrecision(4)),
    errorRatio: requests > 0 ? errors / requests : 0,
    p50: rounded(quantileOf(buckets, 0.5)),
    p95: rounded(quantileOf(buckets, 0.95))
  }
}

const rounded = (seconds: number | null): number | null => (seconds === null ? null : Number(seconds.toPrecision(4)))
