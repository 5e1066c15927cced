import { Type } from '@sinclair/typebox'
import type { Remote } from '../../../plugins/lib/remote.ts'
import type { AppMetrics } from '../port.ts'
import type { Machine } from './api.ts'

const Answer = Type.Object({
  data: Type.Object({
    result: Type.Array(
      Type.Object({
        metric: Type.Record(Type.String(), Type.String()),
        value: Type.Tuple([Type.Number(), Type.String()])
      })
    )
  })
})

const MB = 1_048_576

/** The queries for an app's figures, from metrics that Fly collects itself; figures about machines are per machine. */
function figuresOf(app: string) {
  const of = (metric: string, more = '') => `${metric}{app="${app}"${more}}`
  const rate = (series: string) => `rate(${series}[5m])`
  const perMachine = (expression: string) => `sum by (instance) (${expression})`
  const responses = 'fly_app_http_responses_count'
  const times = 'fly_app_http_response_time_seconds'
  return {
    cpu:
      `100 * ${perMachine(rate(of('fly_instance_cpu', ',mode!="idle"')))}` +
      ` / ${perMachine(rate(of('fly_instance_cpu')))}`,
    memoryTotal: perMachine(of('fly_instance_memory_mem_total')),
    memoryFree: perMachine(of('fly_instance_memory_mem_available')),
    received: `sum(${rate(of('fly_instance_net_recv_bytes', ',device!="lo"'))})`,
    sent: `sum(${rate(of('fly_instance_net_sent_bytes', ',device!="lo"'))})`,
    requests: `sum(increase(${of(responses)}[1h]))`,
    requestRate: `sum(${rate(of(responses))})`,
    errorRate: `sum(${rate(of(responses, ',status=~"5.."'))})`,
    latency: `sum(${rate(of(`${times}_sum`))}) / sum(${rate(of(`${times}_count`))})`
  }
}
type Figure = keyof ReturnType<typeof figuresOf>

/** Combines all figures in one query, each under its own name, so that they are from the same moment. */
function queryOf(app: string): string {
  return Object.entries(figuresOf(app))
    .map(([name, expression]) => `label_replace(${expression}, "figure", "${name}", "", "")`)
    .join(' or ')
}

/** An app's metrics from Fly's Prometheus; missing values are 0. */
export async function measure(
  remote: Remote,
  organization: string,
  app: string,
  machines: readonly Machine[],
  signal: AbortSignal
): Promise<AppMetrics> {
  const { body } = await remote.call({
    operation: 'read_metrics',
    method: 'POST',
    path: `/prometheus/${encodeURIComponent(organization)}/api/v1/query`,
    body: new URLSearchParams({ query: queryOf(app) }),
    schema: Answer,
    idempotent: true,
    signal
  })
  const samples = body.data.result.map(({ metric, value }) => ({ ...metric, value: numberOf(value[1]) }) as Sample)
  const sum = (figure: Figure, instance?: string) =>
    samples
      .filter(sample => sample.figure === figure && (instance === undefined || sample.instance === instance))
      .reduce((total, { value }) => total + value, 0)
  const usedMb = (instance?: string) => (sum('memoryTotal', instance) - sum('memoryFree', instance)) / MB
  const totalMb = sum('memoryTotal') / MB
  const perSec = sum('requestRate')

  return {
    cpuPercent: sum('cpu') / Math.max(1, samples.filter(({ figure }) => figure === 'cpu').length),
    memory: { usedMb: usedMb(), totalMb, usedPercent: totalMb === 0 ? 0 : (100 * usedMb()) / totalMb },
    network: { bytesInPerSec: sum('received'), bytesOutPerSec: sum('sent') },
    requests: {
      total: Math.round(sum('requests')),
      perSec,
      avgLatencyMs: sum('latency') * 1_000,
      errorRate: perSec === 0 ? 0 : Math.min(1, sum('errorRate') / perSec)
    },
    instances: machines.map(({ id, region, state }) => ({
      id,
      region,
      state,
      cpuPercent: sum('cpu', id),
      memoryMb: usedMb(id)
    }))
  }
}

interface Sample {
  readonly figure?: string
  readonly instance?: string
  readonly value: number
}

/** Prometheus returns `NaN` for zero divided by zero. */
function numberOf(text: string): number {
  const number = Number(text)
  return Number.isFinite(number) ? number : 0
}
