import type { LiveQuery } from '../plugins/operations/index.ts'

/** The unit of a value, in Grafana's names. */
export type Unit = 'percentunit' | 's' | 'reqps' | 'ops' | 'short' | 'bytes' | 'dateTimeFromNow' | 'bool'

export interface Panel {
  /** Unique over all dashboards. */
  readonly id: string
  readonly title: string
  readonly unit: Unit
  /** PromQL. Grafana sets `$__rate_interval` to at least four scrape intervals. */
  readonly query: string
  /** The name of a series, with its labels in double braces. */
  readonly legend: string
  /** A current number, or a curve. */
  readonly kind: 'stat' | 'graph'
  /** The same from the metrics that an instance keeps itself; absent if those do not suffice. */
  readonly live?: readonly LiveQuery[]
  /** The first bad value; `below` if low values are bad. */
  readonly threshold?: { readonly value: number; readonly bad: 'above' | 'below' }
}

export interface Row {
  readonly title: string
  readonly panels: readonly Panel[]
}

export interface Dashboard {
  readonly uid: string
  readonly title: string
  readonly rows: readonly Row[]
}

const stat = (panel: Omit<Panel, 'kind'>): Panel => ({ ...panel, kind: 'stat' })
const graph = (panel: Omit<Panel, 'kind'>): Panel => ({ ...panel, kind: 'graph' })

/** Queries for the operations page, which works without Prometheus. */
const slo = (outcomes: readonly string[], by: readonly string[] = []) => ({
  metric: 'rhone_slo_requests_total',
  by,
  where: { outcome: outcomes }
})
const failed = { ...slo(['error']), except: { slo: ['health'] } }
const valid = { ...slo(['good', 'slow', 'error']), except: { slo: ['health'] } }
const failedWithin = (window: number, legend?: string): LiveQuery => ({
  show: 'ratio',
  of: failed,
  over: valid,
  window,
  ...(legend !== undefined && { legend })
})
const level = (metric: string, by: readonly string[] = [], combine: 'sum' | 'max' | 'min' = 'sum'): LiveQuery => ({
  show: 'level',
  of: { metric, by, combine }
})
const rateOf = (metric: string, by: readonly string[] = []): LiveQuery => ({ show: 'rate', of: { metric, by } })
const hourly = (metric: string, by: readonly string[]): LiveQuery => ({
  show: 'increase',
  of: { metric, by },
  window: 3_600
})
const DURATIONS = 'rhone_http_request_duration_seconds'

const RATE = '[$__rate_interval]'
const quantile = (q: number, by: string, metric: string) =>
  `histogram_quantile(${q}, sum by (${by}, le) (rate(${metric}_bucket${RATE})))`

const overview: Dashboard = {
  uid: 'rhone-overview',
  title: 'Rhone: overview',
  rows: [
    {
      title: 'Objectives and budget',
      panels: [
        stat({
          id: 'availability',
          title: 'Availability, 30 days',
          unit: 'percentunit',
          query: '1 - rhone:slo_error:ratio_rate30d',
          legend: 'availability',
          threshold: { value: 0.995, bad: 'below' }
        }),
        stat({
          id: 'error-rate',
          title: 'Error rate, 1 hour',
          unit: 'percentunit',
          query: 'rhone:slo_error:ratio_rate1h',
          legend: 'errors',
          live: [failedWithin(3_600)],
          threshold: { value: 0.005, bad: 'above' }
        }),
        stat({
          id: 'budget-remaining',
          title: 'Error budget left (of 3.6 hours in 30 days)',
          unit: 'percentunit',
          query: 'rhone:slo_budget_remaining:ratio',
          legend: 'left',
          threshold: { value: 0.25, bad: 'below' }
        }),
        stat({
          id: 'p95',
          title: 'P95',
          unit: 's',
          query: quantile(0.95, 'job', 'rhone_http_request_duration_seconds'),
          legend: 'P95',
          live: [{ show: 'quantile', of: { metric: DURATIONS }, quantile: 0.95 }],
          threshold: { value: 0.1, bad: 'above' }
        }),
        graph({
          id: 'burn',
          title: 'Burn rate: error ratio by window',
          unit: 'percentunit',
          query:
            'label_replace(rhone:slo_error:ratio_rate5m, "window", "5m", "", "") or label_replace(rhone:slo_error:ratio_rate1h, "window", "1h", "", "") or label_replace(rhone:slo_error:ratio_rate6h, "window", "6h", "", "")',
          legend: '{{window}}',
          live: [failedWithin(300, '5m'), failedWithin(3_600, '1h'), failedWithin(21_600, '6h')],
          threshold: { value: 0.005, bad: 'above' }
        }),
        graph({
          id: 'slow-by-class',
          title: 'Slow requests by class, 1 hour',
          unit: 'percentunit',
          query: 'rhone:slo_slow:ratio_rate1h',
          legend: '{{slo}}',
          live: [{ show: 'ratio', of: slo(['slow'], ['slo']), over: slo(['good', 'slow'], ['slo']), window: 3_600 }],
          threshold: { value: 0.05, bad: 'above' }
        }),
        graph({
          id: 'outcomes',
          title: 'Requests by outcome',
          unit: 'reqps',
          query: `sum by (outcome) (rate(rhone_slo_requests_total${RATE}))`,
          legend: '{{outcome}}',
          live: [rateOf('rhone_slo_requests_total', ['outcome'])]
        })
      ]
    },
    {
      title: 'Requests',
      panels: [
        graph({
          id: 'request-rate',
          title: 'Request rate',
          unit: 'reqps',
          query: `sum(rate(rhone_http_requests_total${RATE}))`,
          legend: 'requests',
          live: [rateOf('rhone_http_requests_total')]
        }),
        graph({
          id: 'latency',
          title: 'P50, P95 and P99',
          unit: 's',
          query: [0.5, 0.95, 0.99]
            .map(
              q =>
                `label_replace(${quantile(q, 'job', 'rhone_http_request_duration_seconds')}, "q", "P${q * 100}", "", "")`
            )
            .join(' or '),
          legend: '{{q}}',
          live: [0.5, 0.95, 0.99].map(q => ({
            show: 'quantile',
            of: { metric: DURATIONS },
            quantile: q,
            legend: `P${q * 100}`
          }))
        }),
        graph({
          id: 'statuses',
          title: 'Replies by status',
          unit: 'reqps',
          query: `sum by (status) (rate(rhone_http_requests_total${RATE}))`,
          legend: '{{status}}',
          live: [rateOf('rhone_http_requests_total', ['status'])]
        }),
        graph({
          id: 'top-routes',
          title: 'Busiest routes',
          unit: 'reqps',
          query: `topk(10, sum by (method, path) (rate(rhone_http_requests_total${RATE})))`,
          legend: '{{method}} {{path}}'
        }),
        graph({
          id: 'slowest-routes',
          title: 'Slowest routes, P95',
          unit: 's',
          query: `topk(10, ${quantile(0.95, 'method, path', 'rhone_http_request_duration_seconds')})`,
          legend: '{{method}} {{path}}'
        }),
        graph({
          id: 'in-flight',
          title: 'Requests in flight',
          unit: 'short',
          query: 'sum(rhone_http_requests_in_flight)',
          legend: 'in flight',
          live: [level('rhone_http_requests_in_flight')]
        })
      ]
    },
    {
      title: 'Refusals',
      panels: [
        graph({
          id: 'shed',
          title: 'Shed requests',
          unit: 'reqps',
          query: `sum by (reason, priority) (rate(rhone_shed_total${RATE}))`,
          legend: '{{reason}}, {{priority}}',
          live: [rateOf('rhone_shed_total', ['reason', 'priority'])]
        }),
        graph({
          id: 'limited',
          title: 'Rate-limited requests',
          unit: 'reqps',
          query: `sum by (class) (rate(rhone_rate_limited_total${RATE}))`,
          legend: '{{class}}',
          live: [rateOf('rhone_rate_limited_total', ['class'])]
        }),
        graph({
          id: 'maintenance',
          title: 'Maintenance',
          unit: 'bool',
          query: 'max(rhone_maintenance)',
          legend: 'closed',
          live: [level('rhone_maintenance', [], 'max')]
        }),
        graph({
          id: 'auth-failures',
          title: 'Failed authentications',
          unit: 'ops',
          query: `sum by (reason) (rate(rhone_auth_failures_total${RATE}))`,
          legend: '{{reason}}',
          live: [rateOf('rhone_auth_failures_total', ['reason'])]
        })
      ]
    },
    {
      title: 'Dependencies',
      panels: [
        graph({
          id: 'dependencies',
          title: 'Dependencies up',
          unit: 'bool',
          query: 'min by (service) (rhone_dependency_up)',
          legend: '{{service}}',
          live: [level('rhone_dependency_up', ['service'], 'min')],
          threshold: { value: 1, bad: 'below' }
        }),
        graph({
          id: 'pool',
          title: 'Database pool',
          unit: 'short',
          query: 'sum by (state) (rhone_db_pool_connections)',
          legend: '{{state}}',
          live: [level('rhone_db_pool_connections', ['state'])]
        }),
        graph({
          id: 'cache-hits',
          title: 'Cache hit rate',
          unit: 'percentunit',
          query: `sum by (cache) (rate(rhone_cache_requests_total{outcome="hit"}${RATE})) / (sum by (cache) (rate(rhone_cache_requests_total${RATE})) > 0)`,
          legend: '{{cache}}',
          live: [
            {
              show: 'ratio',
              of: { metric: 'rhone_cache_requests_total', by: ['cache'], where: { outcome: ['hit'] } },
              over: { metric: 'rhone_cache_requests_total', by: ['cache'] }
            }
          ],
          threshold: { value: 0.8, bad: 'below' }
        }),
        graph({
          id: 'audit',
          title: 'Audit events',
          unit: 'ops',
          query: `sum by (outcome) (rate(rhone_audit_events_total${RATE}))`,
          legend: '{{outcome}}'
        })
      ]
    }
  ]
}

const database: Dashboard = {
  uid: 'rhone-database',
  title: 'Rhone: database',
  rows: [
    {
      title: 'Connections',
      panels: [
        graph({
          id: 'pool-by-instance',
          title: 'Pool by instance',
          unit: 'short',
          query: 'sum by (instance, state) (rhone_db_pool_connections)',
          legend: '{{instance}} {{state}}'
        }),
        graph({
          id: 'pool-waiting',
          title: 'Operations waiting for a connection',
          unit: 'short',
          query: 'sum(rhone_db_pool_connections{state="waiting"})',
          legend: 'waiting',
          threshold: { value: 1, bad: 'above' }
        }),
        stat({
          id: 'database-up',
          title: 'Database up',
          unit: 'bool',
          query: 'min(rhone_dependency_up{service="database"})',
          legend: 'up',
          threshold: { value: 1, bad: 'below' }
        })
      ]
    },
    {
      title: 'Statements',
      panels: [
        graph({
          id: 'query-rate',
          title: 'Statement rate',
          unit: 'ops',
          query: `sum by (query) (rate(rhone_db_query_duration_seconds_count${RATE}))`,
          legend: '{{query}}'
        }),
        graph({
          id: 'query-p99',
          title: 'Statement duration, P99',
          unit: 's',
          query: quantile(0.99, 'query', 'rhone_db_query_duration_seconds'),
          legend: '{{query}}',
          threshold: { value: 1, bad: 'above' }
        })
      ]
    }
  ]
}

const cache: Dashboard = {
  uid: 'rhone-cache',
  title: 'Rhone: cache and limits',
  rows: [
    {
      title: 'Cache',
      panels: [
        graph({
          id: 'cache-lookups',
          title: 'Look-ups by outcome',
          unit: 'ops',
          query: `sum by (cache, outcome) (rate(rhone_cache_requests_total${RATE}))`,
          legend: '{{cache}} {{outcome}}'
        }),
        graph({
          id: 'cache-evictions',
          title: 'Evictions',
          unit: 'ops',
          query: `sum by (cache) (rate(rhone_cache_evictions_total${RATE}))`,
          legend: '{{cache}}',
          threshold: { value: 100, bad: 'above' }
        })
      ]
    },
    {
      title: 'Limits',
      panels: [
        graph({
          id: 'limits-by-class',
          title: 'Refusals by class',
          unit: 'reqps',
          query: `sum by (class) (rate(rhone_rate_limited_total${RATE}))`,
          legend: '{{class}}'
        })
      ]
    }
  ]
}

const system: Dashboard = {
  uid: 'rhone-system',
  title: 'Rhone: system',
  rows: [
    {
      title: 'Process',
      panels: [
        graph({
          id: 'cpu',
          title: 'CPU',
          unit: 'percentunit',
          query: `sum by (instance) (rate(process_cpu_seconds_total{job="rhone"}${RATE}))`,
          legend: '{{instance}}',
          live: [{ ...rateOf('process_cpu_seconds_total'), legend: 'this instance' }],
          threshold: { value: 0.8, bad: 'above' }
        }),
        graph({
          id: 'memory',
          title: 'Resident memory, share of the limit',
          unit: 'percentunit',
          query: 'process_resident_memory_bytes{job="rhone"} / rhone_memory_limit_bytes',
          legend: '{{instance}}',
          live: [
            {
              show: 'share',
              of: { metric: 'process_resident_memory_bytes' },
              over: { metric: 'rhone_memory_limit_bytes' },
              legend: 'this instance'
            }
          ],
          threshold: { value: 0.8, bad: 'above' }
        }),
        graph({
          id: 'heap',
          title: 'Heap',
          unit: 'bytes',
          query: 'nodejs_heap_size_used_bytes{job="rhone"}',
          legend: '{{instance}}',
          live: [{ ...level('nodejs_heap_size_used_bytes'), legend: 'this instance' }]
        }),
        graph({
          id: 'event-loop',
          title: 'Event loop delay, P99',
          unit: 's',
          query: 'nodejs_eventloop_lag_p99_seconds{job="rhone"}',
          legend: '{{instance}}',
          live: [{ ...level('nodejs_eventloop_lag_p99_seconds', [], 'max'), legend: 'this instance' }],
          threshold: { value: 0.2, bad: 'above' }
        }),
        graph({
          id: 'descriptors',
          title: 'Open file descriptors, share of the limit',
          unit: 'percentunit',
          query: 'process_open_fds{job="rhone"} / process_max_fds',
          legend: '{{instance}}',
          threshold: { value: 0.8, bad: 'above' }
        }),
        graph({
          id: 'disk',
          title: 'Free disk space of DATA_DIR',
          unit: 'percentunit',
          query: 'rhone_disk_free_bytes / rhone_disk_size_bytes',
          legend: '{{instance}}',
          live: [
            {
              show: 'share',
              of: { metric: 'rhone_disk_free_bytes' },
              over: { metric: 'rhone_disk_size_bytes' },
              legend: 'this instance'
            }
          ],
          threshold: { value: 0.2, bad: 'below' }
        })
      ]
    },
    {
      title: 'Admission',
      panels: [
        graph({
          id: 'concurrency',
          title: 'Concurrent requests and their limit',
          unit: 'short',
          query:
            'label_replace(sum by (instance) (rhone_concurrency_in_flight), "what", "in flight", "", "") or label_replace(sum by (instance) (rhone_concurrency_limit), "what", "limit", "", "")',
          legend: '{{instance}} {{what}}'
        }),
        graph({
          id: 'connections',
          title: 'Connections',
          unit: 'short',
          query: 'sum by (instance) (rhone_connections)',
          legend: '{{instance}}'
        }),
        graph({
          id: 'streams',
          title: 'Event streams',
          unit: 'short',
          query: 'sum by (instance) (rhone_event_streams)',
          legend: '{{instance}}'
        })
      ]
    }
  ]
}

const deployments: Dashboard = {
  uid: 'rhone-deployments',
  title: 'Rhone: deployments',
  rows: [
    {
      title: 'Deployments and builds',
      panels: [
        stat({ id: 'apps', title: 'Apps', unit: 'short', query: 'max(rhone_active_apps)', legend: 'apps' }),
        stat({ id: 'teams', title: 'Teams', unit: 'short', query: 'max(rhone_active_teams)', legend: 'teams' }),
        graph({
          id: 'deployments',
          title: 'Deployments per hour, by status',
          unit: 'short',
          query: 'sum by (status) (increase(rhone_deployments_total[1h]))',
          legend: '{{status}}',
          live: [hourly('rhone_deployments_total', ['status'])]
        }),
        graph({
          id: 'builds',
          title: 'Builds per hour, by result',
          unit: 'short',
          query: 'sum by (status) (increase(rhone_builds_total[1h]))',
          legend: '{{status}}',
          live: [hourly('rhone_builds_total', ['status'])]
        }),
        graph({
          id: 'build-duration',
          title: 'Build duration, P95',
          unit: 's',
          query: 'histogram_quantile(0.95, sum by (status, le) (rate(rhone_build_duration_seconds_bucket[1h])))',
          legend: '{{status}}'
        })
      ]
    },
    {
      title: 'Jobs and webhooks',
      panels: [
        graph({
          id: 'jobs-waiting',
          title: 'Waiting jobs',
          unit: 'short',
          query: 'max by (queue) (rhone_jobs_waiting)',
          legend: '{{queue}}',
          live: [level('rhone_jobs_waiting', ['queue'], 'max')],
          threshold: { value: 100, bad: 'above' }
        }),
        graph({
          id: 'jobs',
          title: 'Job attempts',
          unit: 'ops',
          query: `sum by (queue, outcome) (rate(rhone_jobs_total${RATE}))`,
          legend: '{{queue}} {{outcome}}',
          live: [rateOf('rhone_jobs_total', ['queue', 'outcome'])]
        }),
        graph({
          id: 'webhooks',
          title: 'Webhook deliveries',
          unit: 'ops',
          query: `sum by (source, outcome) (rate(rhone_webhooks_total${RATE}))`,
          legend: '{{source}} {{outcome}}',
          live: [rateOf('rhone_webhooks_total', ['source', 'outcome'])]
        }),
        graph({
          id: 'chores',
          title: 'Time since the last success of chores',
          unit: 's',
          query: 'time() - max by (chore) (rhone_chore_last_success_timestamp_seconds)',
          legend: '{{chore}}',
          threshold: { value: 7200, bad: 'above' }
        })
      ]
    }
  ]
}

/** All dashboards. The JSON in `dashboards/` is generated from this list alone. */
export const dashboards: readonly Dashboard[] = [overview, database, cache, system, deployments]

export const panels: readonly Panel[] = dashboards.flatMap(({ rows }) => rows.flatMap(row => row.panels))
