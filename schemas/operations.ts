import { Type } from '@sinclair/typebox'
import { adapted, Nullable, OneOf, Sent, Strict, Text } from './common.ts'
import { errorResponses } from './error.ts'

const Count = (description: string) => Type.Number({ description })
const Maybe = (description: string) => Nullable(Type.Number({ description: `${description}; null if unknown.` }))
const Instant = (description: string) => Nullable(Type.String({ format: 'date-time', description }))
const Counts = (description: string) => Type.Record(Type.String(), Type.Number(), { description })

/** Seconds that charts can cover. */
export const OPERATIONS_WINDOWS = { '1h': 3_600, '6h': 21_600, '24h': 86_400, '7d': 604_800, '30d': 2_592_000 } as const

const Burn = Sent({
  window: Text('The length of the window.', '1h'),
  seconds: Count('The part of the window covered by the history.'),
  valid: Count('Requests that count: good, slow or failed.'),
  errors: Count('Failed requests.'),
  ratio: Maybe('The share that failed'),
  burn: Maybe('Burn rate: 1 spends exactly the budget in 30 days')
})

const Budget = Sent({
  target: Type.Number({ description: 'The share of requests that must succeed.', examples: [0.995] }),
  days: Count('The period in days.'),
  remaining: Maybe('The share of the budget that is left, from Prometheus'),
  spentRemembered: Maybe('The share of the budget spent within the history, at its request rate'),
  windows: Type.Array(Burn, { description: 'Burn rates.' })
})

const Class = Sent({
  slo: Text('The service level class.', 'list'),
  good: Count('Requests that kept the objective.'),
  slow: Count('Slower than the objective.'),
  error: Count('Failed.'),
  maintenance: Count('Refused by planned maintenance.'),
  limited: Count('Refused by limits.'),
  gone: Count('Aborted by their clients.')
})

const Route = Sent({
  method: Text('The method.', 'GET'),
  path: Text('The pattern.', '/api/v1/apps/:app'),
  requests: Count('The number of requests.'),
  perSecond: Count('Requests per second.'),
  errors: Count('Replies with 5xx.'),
  errorRatio: Count('The share of 5xx.'),
  p50: Maybe('Median duration in seconds'),
  p95: Maybe('95th percentile of the duration in seconds')
})

const Load = Sent({
  inFlight: Maybe('Requests in flight'),
  admitted: Maybe('Requests in flight that count against the limit'),
  limit: Maybe('The concurrency limit'),
  pressure: Maybe('0 none, 1 some, 2 much'),
  eventLoopP99: Maybe('99th percentile of the event loop delay in seconds'),
  cpu: Maybe('Cores in use'),
  rss: Maybe('Resident memory in bytes'),
  memoryLimit: Maybe('Memory limit in bytes'),
  heapUsed: Maybe('Used heap in bytes')
})

const ReportedTime = Sent({
  known: Type.Boolean({
    description: 'False if no server has reported one: the state is unknown.'
  }),
  at: Instant('The time.'),
  ageSeconds: Maybe('The age in seconds')
})

const Chart = Sent(
  {
    id: Text('The id of the dashboard panel.', 'request-rate'),
    title: Text('Its title.', 'Requests'),
    unit: Text('The unit of its values, as in Grafana.', 'reqps'),
    kind: OneOf(['stat', 'graph'], { description: 'A single number or a graph.' }),
    threshold: Type.Union(
      [
        Sent({
          value: Type.Number({ description: 'The threshold.' }),
          bad: OneOf(['above', 'below'], { description: 'The bad side of the threshold.' })
        }),
        Type.Null()
      ],
      { description: 'The threshold from which values are bad.' }
    ),
    series: Type.Array(Type.String({ examples: ['GET /api/v1/apps'] }), { description: 'The names of the series.' }),
    data: Type.Array(Type.Array(Nullable(Type.Number())), {
      description: 'The times in seconds since 1970, then the values of each series: the format of uPlot.'
    })
  },
  { title: 'Chart' }
)

export const Operations = Sent(
  {
    generatedAt: Type.String({ format: 'date-time', description: 'When this report was created.' }),
    sampledAt: Instant('When this instance last sampled its metrics; null before the first sample.'),
    rememberedSeconds: Count('The length of the history of this instance.'),
    source: OneOf(['memory', 'history'], { description: 'The source of the charts: this instance or Prometheus.' }),
    fallback: Nullable(
      Text('Why Prometheus could not be queried, if so.', 'prometheus query_range: no answer in time')
    ),
    budget: adapted(Budget, { description: 'The error budget.' }),
    classes: Type.Array(Class, { description: 'By class, over the last hour.' }),
    routes: Sent(
      {
        seconds: Count('The period covered.'),
        items: Type.Array(Route, { description: 'The busiest 50 routes.' })
      },
      { description: 'The used routes.' }
    ),
    load: adapted(Load, { description: 'The current load of this instance.' }),
    pool: Type.Union([Counts('Connections by state.'), Type.Null()], { description: 'The database pool.' }),
    jobs: Type.Array(
      Sent({
        queue: Text('Its name.', 'build'),
        waiting: Maybe('Waiting jobs'),
        lastHour: Counts('Attempts of the last hour, by outcome.')
      }),
      { description: 'Jobs by queue.' }
    ),
    deployments: Counts('Deployments of the last hour on this instance, by status.'),
    dependencies: Type.Record(Type.String(), OneOf(['up', 'down']), {
      description: 'The services that the server depends on.'
    }),
    backup: Sent(
      {
        last: adapted(ReportedTime, { description: 'The newest verified backup.' }),
        sizeBytes: Maybe('Its size in bytes'),
        drill: adapted(ReportedTime, { description: 'The last restore drill that succeeded.' })
      },
      { description: 'The state of disaster recovery.' }
    ),
    charts: Type.Array(Chart, { description: 'The panels of the dashboards.' })
  },
  { title: 'Operations' }
)

export const getOperations = {
  operationId: 'getOperations',
  summary: 'Get the live figures of the server',
  description:
    'Figures of the instance that answers, which keeps six hours of its own metrics and needs no other service. With `PROMETHEUS_URL`, the charts show the data of Prometheus; if it cannot be queried, `fallback` says why.',
  tags: ['operators'],
  querystring: Strict({
    window: Type.Optional(
      OneOf(Object.keys(OPERATIONS_WINDOWS) as (keyof typeof OPERATIONS_WINDOWS)[], {
        description: 'The period of the charts. Default: 1h.'
      })
    )
  }),
  response: { 200: Operations, ...errorResponses }
}
