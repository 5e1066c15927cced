import { Type } from '@sinclair/typebox'
import type { Registry } from '../plugins/lib/registry.ts'
import { createRemote } from '../plugins/lib/remote.ts'
import type { HistorySource, RangeSeries } from '../plugins/operations/index.ts'

export interface PrometheusSettings {
  /** Its URL; may have a path, and a user and a password. */
  readonly url: string
  readonly registry?: Registry
  /** Milliseconds for one query. */
  readonly timeout?: number
}

const Point = Type.Tuple([Type.Number(), Type.String()])
const Labels = Type.Record(Type.String(), Type.String())
const Matrix = Type.Object({
  data: Type.Object({
    resultType: Type.Literal('matrix'),
    result: Type.Array(Type.Object({ metric: Labels, values: Type.Array(Point) }))
  })
})
const Vector = Type.Object({
  data: Type.Object({
    resultType: Type.Literal('vector'),
    result: Type.Array(Type.Object({ metric: Labels, value: Point }))
  })
})

/** Prometheus, or a compatible service, as the history of the operations page. */
export function prometheus({ url, registry, timeout = 2_000 }: PrometheusSettings): HistorySource {
  const { origin, pathname, username, password } = new URL(url)
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  const remote = createRemote({
    service: 'prometheus',
    baseUrl: `${origin}${pathname.replace(/\/$/, '')}`,
    timeout,
    retries: 0,
    registry,
    ...(username && { headers: { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` } })
  })

  return {
    async range(query, { start, end, step }, signal) {
      const parameters = new URLSearchParams({ query, start: `${start}`, end: `${end}`, step: `${step}` })
      const path = `/api/v1/query_range?${parameters}`
      const { body } = await remote.call({ operation: 'query_range', path, schema: Matrix, signal })
      return body.data.result.map(({ metric, values }): RangeSeries => {
        return { labels: metric, points: values.map(([time, value]) => [time, Number(value)] as const) }
      })
    },

    async now(query, signal) {
      const path = `/api/v1/query?${new URLSearchParams({ query })}`
      const { body } = await remote.call({ operation: 'query', path, schema: Vector, signal })
      const values = body.data.result.map(({ value: [, value] }) => Number(value)).filter(Number.isFinite)
      return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0)
    }
  }
}
