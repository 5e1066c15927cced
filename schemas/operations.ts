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
  window: Text('What it is asked of.', '1h'),
  seconds: Count('Of the window, what is remembered.'),
  valid: Count('Requests that were good, slow or failed.'),
  errors: Count('Those that failed.'),
  ratio: Maybe('The share that failed'),
  burn: Maybe('How many times as fast as 30 days allow: 1 spends exactly the budget')
})

const Budget = Sent({
  target: Type.Number({ description: 'The share of requests that must succeed.', examples: [0.995] }),
  days: Count('Over how many days.'),
  remaining: Maybe('The share of the budget that is left, from Prometheus'),
  spentRemembered: Maybe('The share of the budget spent in what is remembered, at the rate of requests of that time'),
  windows: Type.Array(Burn, { description: 'How fast it burns.' })
})

const Class = Sent({
  slo: Text('The service level class.', 'list'),
  good: Count('Requests that kept the objective.'),
  slow: Count('Slower than it.'),
  error: Count('Failed.'),
  maintenance: Count('Refused by planned maintenance.'),
  limited: Count('Refused by limits.'),
  gone: Count('Given up by their clients.')
})

const Route = Sent({
  method: Text('Its method.', 'GET'),
  path: Text('Its pattern.', '/api/v1/apps/:app'),
  requests: Count('How many there were.'),
  perSecond: Count('The same, a second.'),
  errors: Count('Replies of 5xx.'),
  errorRatio: Count('Their share.'),
  p50: Maybe('Seconds that half of them took at most'),
  p95: Maybe('Seconds that 95 of 100 took at most')
})

const Load = Sent({
  inFlight: Maybe('Requests that are being answered'),
  admitted: Maybe('Of them, those that count against the limit'),
  limit: Maybe('How many may be answered at a time'),
  pressure: Maybe('0 none, 1 some, 2 much'),
  eventLoopP99: Maybe('Seconds by which the event loop is late, in 99 of 100 cases at most'),
  cpu: Maybe('Cores in use'),
  rss: Maybe('Resident memory in bytes'),
  memoryLimit: Maybe('Bytes that it is judged by'),
  heapUsed: Maybe('Bytes in use of the heap')
})

const Occasion = Sent({
  known: Type.Boolean({
    description: 'False when no server has told of one: then nothing is known, not that all is well.'
  }),
  at: Instant('When it was.'),
  ageSeconds: Maybe('How long ago')
})

const Chart = Sent(
  {
    id: Text('What the panel of the dashboards is called.', 'request-rate'),
    title: Text('Its title.', 'Requests'),
    unit: Text('How its values are read, in the terms of Grafana.', 'reqps'),
    kind: OneOf(['stat', 'graph'], { description: 'One number, or its course.' }),
    threshold: Type.Union(
      [
        Sent({
          value: Type.Number({ description: 'From here on it is bad.' }),
          bad: OneOf(['above', 'below'], { description: 'On which side.' })
        }),
        Type.Null()
      ],
      { description: 'Where it becomes bad.' }
    ),
    series: Type.Array(Type.String({ examples: ['GET /api/v1/apps'] }), { description: 'What the series are called.' }),
    data: Type.Array(Type.Array(Nullable(Type.Number())), {
      description: 'First the times, in seconds since 1970, then the values of each series; the form that uPlot draws.'
    })
  },
  { title: 'Chart' }
)

export const Operations = Sent(
  {
    generatedAt: Type.String({ format: 'date-time', description: 'When this was made.' }),
    sampledAt: Instant('When this instance last sampled its metrics; null before the first time.'),
    rememberedSeconds: Count('How far back this instance remembers.'),
    source: OneOf(['memory', 'history'], { description: 'What the charts are made of: this instance, or Prometheus.' }),
    fallback: Nullable(
      Text('Why Prometheus could not be asked, if it could not.', 'prometheus query_range: no answer in time')
    ),
    budget: adapted(Budget, { description: 'How much may still fail.' }),
    classes: Type.Array(Class, { description: 'By class, over the last hour.' }),
    routes: Sent(
      {
        seconds: Count('What this covers.'),
        items: Type.Array(Route, { description: 'The busiest 50 routes.' })
      },
      { description: 'The routes that were used.' }
    ),
    load: adapted(Load, { description: 'What this instance is busy with now.' }),
    pool: Type.Union([Counts('Connections by state.'), Type.Null()], { description: 'The database pool.' }),
    jobs: Type.Array(
      Sent({
        queue: Text('Its name.', 'build'),
        waiting: Maybe('Jobs that wait'),
        lastHour: Counts('Attempts of the last hour, by outcome.')
      }),
      { description: 'By queue.' }
    ),
    deployments: Counts('Deployments of the last hour on this instance, by status.'),
    dependencies: Type.Record(Type.String(), OneOf(['up', 'down']), { description: 'What the server depends on.' }),
    backup: Sent(
      {
        last: adapted(Occasion, { description: 'The newest verified backup.' }),
        sizeBytes: Maybe('How large it is'),
        drill: adapted(Occasion, { description: 'The last restore drill that succeeded.' })
      },
      { description: 'What a loss would cost.' }
    ),
    charts: Type.Array(Chart, { description: 'The panels of the dashboards.' })
  },
  { title: 'Operations' }
)

export const getOperations = {
  operationId: 'getOperations',
  summary: 'See how the server is doing',
  description:
    'Figures of the instance that answers, which remembers six hours of its own metrics and needs no other service. With `PROMETHEUS_URL`, the charts show what Prometheus remembers; if it cannot be asked, `fallback` says why.',
  tags: ['operators'],
  querystring: Strict({
    window: Type.Optional(
      OneOf(Object.keys(OPERATIONS_WINDOWS) as (keyof typeof OPERATIONS_WINDOWS)[], {
        description: 'What the charts cover; 1h by default.'
      })
    )
  }),
  response: { 200: Operations, ...errorResponses }
}
