import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import { drawHistory, LiveCharts, rangeOf } from './charts.ts'
import { backup, dependencies, FIGURE_METRICS, Figures, pool } from './figures.ts'
import { SampleRing } from './memory.ts'
import type { Chart, HistorySource, LivePanel, LiveQuery } from './port.ts'
import { ROUTE_METRICS, RouteLedger } from './routes.ts'
import { readSamples, type Samples } from './samples.ts'

export type { Range, RangeSeries, Selection } from './port.ts'
export type { Chart, HistorySource, LivePanel, LiveQuery }

export const OperationsOptions = Type.Object(
  {
    interval: Type.Integer({
      default: 15_000,
      minimum: 10,
      description: 'Milliseconds between two samples of the metrics.'
    }),
    remember: Type.Integer({
      default: 21_600_000,
      minimum: 10,
      description: 'Milliseconds of history; 6 hours by default.'
    }),
    maxSeries: Type.Integer({
      default: 600,
      minimum: 1,
      description: 'Maximum number of series; further ones are left out. Each costs 8 bytes per sample.'
    }),
    historyTimeout: Type.Integer({
      default: 5_000,
      minimum: 1,
      description: 'Total timeout for queries to the history, in milliseconds.'
    })
  },
  { additionalProperties: false }
)
export type OperationsOptions = Static<typeof OperationsOptions>

export interface OperationsDeps {
  /** The metrics of this instance, in the text format of Prometheus. */
  scrape?: () => Promise<string>
  /** While it returns false, nothing is sampled. */
  isReady?: () => boolean
  /** The panels to draw. */
  panels?: readonly LivePanel[]
  /** Without it, charts show this instance's own samples. */
  history?: HistorySource
}

export type OperationsReport = Awaited<ReturnType<Operations['report']>>

export interface Operations {
  /** @param window seconds that the charts cover, as far as the samples reach */
  report(window: number): Promise<{
    readonly generatedAt: string
    /** When the metrics were sampled; null before the first time. */
    readonly sampledAt: string | null
    readonly rememberedSeconds: number
    readonly source: 'memory' | 'history'
    /** Why charts show less than configured; null if they do not. */
    readonly fallback: string | null
    readonly budget: ReturnType<typeof budgetOf>
    readonly classes: ReturnType<Figures['classes']>
    readonly routes: ReturnType<RouteLedger['figures']>
    readonly load: ReturnType<Figures['load']>
    readonly pool: ReturnType<typeof pool>
    readonly jobs: ReturnType<Figures['jobs']>
    readonly deployments: ReturnType<Figures['deployments']>
    readonly dependencies: ReturnType<typeof dependencies>
    readonly backup: ReturnType<typeof backup>
    readonly charts: Chart[]
  }>
  /** Samples the metrics now. */
  sample(): Promise<void>
}

declare module 'fastify' {
  interface FastifyInstance {
    operations: Operations
  }
}

const REMAINING = 'rhone:slo_budget_remaining:ratio'

/**
 * The operator's first overview, independent of any other service: this instance samples its own metrics and keeps some
 * hours of them in a ring of fixed size. With a history, charts reach further back.
 */
const operations: FastifyPluginAsync<PluginInput<typeof OperationsOptions, OperationsDeps>> = async (app, input) => {
  const options = parseOptions('rhone-operations', OperationsOptions, input, ['scrape', 'isReady', 'panels', 'history'])
  const { scrape = async () => '', isReady = () => true, panels = [], history } = input
  const memory = new SampleRing(Math.ceil(options.remember / options.interval) + 1, options.maxSeries)
  const figures = new Figures(memory)
  const charts = new LiveCharts(memory, panels)
  const routes = new RouteLedger()
  const wanted = new Set([...FIGURE_METRICS, ...ROUTE_METRICS, ...memory.metrics])
  let latest: Samples = new Map()
  let isFailing = false
  let isClosed = false
  let timer: NodeJS.Timeout | undefined

  async function sample(): Promise<void> {
    latest = readSamples(await scrape(), wanted)
    const measured = performance.now()
    memory.take(latest, Date.now(), measured)
    routes.take(latest, measured)
  }

  async function tick(): Promise<void> {
    try {
      if (isReady()) await sample()
      isFailing = false
    } catch (error) {
      if (!isFailing) app.log.warn({ err: error }, 'operations: sampling the metrics failed')
      isFailing = true
    }
    plan()
  }

  /** The first sample is taken soon after the start: nothing before it is visible. */
  function plan(): void {
    if (isClosed) return
    timer = setTimeout(tick, memory.length === 0 ? Math.min(1_000, options.interval) : options.interval).unref()
  }

  async function draw(window: number) {
    if (history === undefined) return { remaining: null, fallback: null, charts: charts.draw(window) }
    const signal = AbortSignal.timeout(options.historyTimeout)
    try {
      const [remaining, drawn] = await Promise.all([
        history.now(REMAINING, signal),
        drawHistory(history, panels, rangeOf(window, Date.now()), signal)
      ])
      return { remaining, fallback: null, charts: drawn }
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      return { remaining: null, fallback: reason, charts: charts.draw(window) }
    }
  }

  async function report(window: number) {
    const { remaining, fallback, charts } = await draw(window)
    const now = Date.now()
    const hasSamples = memory.length > 0
    return {
      generatedAt: new Date(now).toISOString(),
      sampledAt: hasSamples ? new Date(memory.timeOf(0)).toISOString() : null,
      rememberedSeconds: hasSamples ? Math.round(memory.secondsBetween(memory.length - 1, 0)) : 0,
      source: history === undefined || fallback !== null ? ('memory' as const) : ('history' as const),
      fallback,
      budget: budgetOf(figures, remaining),
      classes: figures.classes(),
      routes: routes.figures(),
      load: figures.load(latest),
      pool: pool(latest),
      jobs: figures.jobs(latest),
      deployments: figures.deployments(),
      dependencies: dependencies(latest),
      backup: backup(latest, now),
      charts
    }
  }

  app.decorate('operations', { report, sample })
  app.addHook('onReady', async () => plan())
  app.addHook('onClose', async () => {
    isClosed = true
    clearTimeout(timer)
  })
}

function budgetOf(figures: Figures, remaining: number | null) {
  return { ...figures.objective, remaining, spentRemembered: figures.spent(), windows: figures.burns() }
}

export default fp(operations, { name: 'rhone-operations', fastify: '5.x' })
