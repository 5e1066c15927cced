import { type Html, html } from '../../plugins/lib/html.ts'
import type { PageContext, View } from '../context.ts'
import { ago, card, empty, type Fact, facts, figure, live, notice, sparkline, status, table, tabs } from '../parts.ts'
import { adminPage, count, percent } from './frame.ts'

type Unknown<Value> = Value | null

interface ReportedTime {
  readonly known: boolean
  readonly at: string | null
}

interface Chart {
  readonly id: string
  readonly title: string
  readonly unit: string
  readonly kind: 'stat' | 'graph'
  readonly series: readonly string[]
  /** First the times, then the values of each series. */
  readonly data: readonly (readonly (number | null)[])[]
}

/** The reply of `GET /admin/operations`. */
export interface Operations {
  readonly sampledAt: string | null
  readonly rememberedSeconds: number
  readonly source: 'memory' | 'history'
  readonly fallback: string | null
  readonly budget: {
    readonly target: number
    readonly days: number
    readonly remaining: Unknown<number>
    readonly spentRemembered: Unknown<number>
    readonly windows: readonly {
      readonly window: string
      readonly seconds: number
      readonly valid: number
      readonly errors: number
      readonly ratio: Unknown<number>
      readonly burn: Unknown<number>
    }[]
  }
  readonly classes: readonly {
    readonly slo: string
    readonly good: number
    readonly slow: number
    readonly error: number
    readonly limited: number
    readonly gone: number
  }[]
  readonly routes: {
    readonly seconds: number
    readonly items: readonly {
      readonly method: string
      readonly path: string
      readonly perSecond: number
      readonly errorRatio: number
      readonly p50: Unknown<number>
      readonly p95: Unknown<number>
    }[]
  }
  readonly load: Readonly<
    Record<
      'inFlight' | 'admitted' | 'limit' | 'pressure' | 'eventLoopP99' | 'cpu' | 'rss' | 'memoryLimit' | 'heapUsed',
      Unknown<number>
    >
  >
  readonly pool: Unknown<Readonly<Record<string, number>>>
  readonly jobs: readonly {
    readonly queue: string
    readonly waiting: Unknown<number>
    readonly lastHour: Readonly<Record<string, number>>
  }[]
  readonly deployments: Readonly<Record<string, number>>
  readonly dependencies: Readonly<Record<string, string>>
  readonly backup: { readonly last: ReportedTime; readonly sizeBytes: Unknown<number>; readonly drill: ReportedTime }
  readonly charts: readonly Chart[]
}

const WINDOWS = ['1h', '6h', '24h', '7d', '30d'] as const
const MOST_ROUTES = 15

/** The state of the server, from the samples of the answering instance. */
export function operationsPage(report: Operations, window: string): View {
  return adminPage({
    title: 'Operations',
    tab: '/admin/operations',
    about: html`Figures of the instance that answers. Alerts, dashboards and what to do about them: <code>docs/RUNBOOK.md</code>.`,
    content:
      context => html`${report.fallback !== null && notice({ tone: 'warn', title: 'Prometheus could not be asked', detail: html`${report.fallback}. The charts show the history of this instance.` })}
${report.sampledAt === null ? empty({ icon: 'clock', title: 'No measurements yet', why: 'The first sample is taken a second after the start.' }) : figuresOf(report, window, context)}`
  })
}

function figuresOf(report: Operations, window: string, context: PageContext): Html {
  return html`${live(
    'operations',
    [],
    html`${budget(report)}
<div class="columns uneven"><div class="stack wide-gap">${routes(report)}${classes(report)}</div><div class="stack wide-gap">${dependencies(report)}${load(report)}${jobs(report)}${recovery(report, context)}</div></div>
<p class="hint">Sampled ${ago(report.sampledAt!, context.now)}. This instance remembers ${spanOf(report.rememberedSeconds)}.</p>`,
    'stack wide-gap'
  )}
${charts(report, window)}`
}

function budget({ budget: found }: Operations): Html {
  const { target, days, remaining, spentRemembered, windows } = found
  const hottest = windows.find(({ window }) => window === '1h')?.burn ?? null
  return card(
    { title: html`Objective: ${percent(target)} of requests in ${days} days`, isFlush: true },
    html`<div class="figures padded">${figure('Budget left', percent(remaining), remaining === null ? '' : 'of 30 days')}${figure('Spent within the history', percent(spentRemembered, 2))}${figure('Burn of the last hour', hottest === null ? null : `${hottest.toFixed(1)}×`)}</div>
${table(
  'How fast the error budget burns',
  [
    { label: 'Window', cell: ({ window }) => window },
    { label: 'Requests', cell: ({ valid }) => count(valid), isNumber: true },
    { label: 'Failed', cell: ({ errors }) => count(errors), isNumber: true },
    {
      label: 'Share',
      cell: ({ ratio }) => percent(ratio, 2) ?? html`<span class="faint">no requests</span>`,
      isNumber: true
    },
    { label: 'Burn', cell: ({ burn }) => burnOf(burn), isNumber: true }
  ],
  windows
)}`
  )
}

/** At 1 the budget lasts exactly its period; at 14.4 it is gone in two days. */
function burnOf(burn: number | null): Html {
  if (burn === null) return html`<span class="faint">unknown</span>`
  const words = `${burn.toFixed(1)}×`
  if (burn < 1) return html`${words}`
  return status(burn < 6 ? { tone: 'warn', icon: 'warn', word: words } : { tone: 'bad', icon: 'stop', word: words })
}

function routes({ routes: { seconds, items } }: Operations): Html {
  return card(
    { title: html`Busiest routes of ${spanOf(seconds)}`, isFlush: items.length > 0 },
    items.length === 0
      ? html`<p class="faint">No requests yet.</p>`
      : table(
          'The busiest routes',
          [
            { label: 'Route', cell: ({ method, path }) => html`<code>${method} ${path}</code>` },
            { label: 'Per second', cell: ({ perSecond }) => perSecond.toFixed(perSecond < 10 ? 2 : 0), isNumber: true },
            {
              label: 'Failed',
              cell: ({ errorRatio }) =>
                errorRatio === 0 ? '0 %' : status({ tone: 'bad', icon: 'stop', word: percent(errorRatio, 2)! }),
              isNumber: true
            },
            { label: 'P50', cell: ({ p50 }) => secondsOf(p50), isNumber: true },
            { label: 'P95', cell: ({ p95 }) => secondsOf(p95), isNumber: true }
          ],
          items.slice(0, MOST_ROUTES)
        )
  )
}

function classes({ classes: found }: Operations): Html {
  return card(
    { title: 'Objectives of the last hour', isFlush: found.length > 0 },
    found.length === 0
      ? html`<p class="faint">No requests yet.</p>`
      : table(
          'Requests of the last hour, by class',
          [
            { label: 'Class', cell: ({ slo }) => slo },
            { label: 'Good', cell: ({ good }) => count(good), isNumber: true },
            { label: 'Slow', cell: ({ slow }) => count(slow), isNumber: true },
            { label: 'Failed', cell: ({ error }) => count(error), isNumber: true },
            { label: 'Limited', cell: ({ limited }) => count(limited), isNumber: true },
            { label: 'Given up', cell: ({ gone }) => count(gone), isNumber: true }
          ],
          found
        )
  )
}

function dependencies({ dependencies: found }: Operations): Html {
  const names = Object.entries(found)
  return card(
    { title: 'Depends on' },
    names.length === 0
      ? html`<p class="faint">No checks yet.</p>`
      : facts(
          names.map(
            ([name, state]): Fact => [
              name,
              status(
                state === 'up' ? { tone: 'good', icon: 'ok', word: 'up' } : { tone: 'bad', icon: 'stop', word: 'down' }
              )
            ]
          ),
          'list'
        )
  )
}

const PRESSURE = ['none', 'some', 'much', 'extreme']

function load({ load: found, pool }: Operations): Html {
  const { inFlight, admitted, limit, pressure, eventLoopP99, cpu, rss, memoryLimit } = found
  return card(
    { title: 'Load' },
    facts(
      [
        ['In flight', known(inFlight, count)],
        ['Admitted, of limit', html`${known(admitted, count)} of ${known(limit, value => value.toFixed(0))}`],
        ['Pressure', known(pressure, level => PRESSURE[level] ?? String(level))],
        ['Event loop, P99', known(eventLoopP99, secondsOf)],
        ['CPU', known(cpu, value => `${value.toFixed(2)} cores`)],
        ['Memory', html`${known(rss, bytesOf)} of ${known(memoryLimit, bytesOf)}`],
        pool !== null && [
          'Database pool',
          Object.entries(pool)
            .map(([state, connections]) => `${connections} ${state}`)
            .join(', ')
        ]
      ],
      'list'
    )
  )
}

function jobs({ jobs: found, deployments }: Operations): Html {
  const queues = found.filter(({ waiting, lastHour }) => waiting !== 0 || Object.values(lastHour).some(Boolean))
  const ended = Object.entries(deployments).filter(([, times]) => times > 0)
  return card(
    { title: 'Jobs and deployments of the last hour' },
    facts(
      [
        ...queues.map(
          ({ queue, waiting, lastHour }): Fact => [
            queue,
            html`${known(waiting, count)} waiting${Object.entries(lastHour).map(([outcome, times]) => times > 0 && html`, ${count(times)} ${outcome}`)}`
          ]
        ),
        queues.length === 0 && (['Queues', 'idle'] as const),
        ['Deployments', ended.length === 0 ? 'none' : ended.map(([state, times]) => `${times} ${state}`).join(', ')]
      ],
      'list'
    )
  )
}

function recovery({ backup: { last, sizeBytes, drill } }: Operations, { now }: PageContext): Html {
  const occasion = ({ known: isKnown, at }: ReportedTime) =>
    isKnown && at !== null ? ago(at, now) : html`<span class="faint">none is known</span>`
  return card(
    { title: 'Recovery' },
    facts(
      [
        ['Newest verified backup', occasion(last)],
        ['Its size', known(sizeBytes, bytesOf)],
        ['Last restore drill', occasion(drill)]
      ],
      'list'
    )
  )
}

/** Without a script, shows each panel's first series. With one, all of them, with values on hover. */
function charts({ charts: found, source }: Operations, window: string): Html {
  const graphs = found.filter(({ kind, data: [times = []] }) => kind === 'graph' && times.length > 1)
  return html`<section class="section" aria-labelledby="charts"><div class="row apart"><h2 id="charts">Charts${source === 'memory' && html` <span class="faint">from the history of this instance</span>`}</h2>
${tabs(
  'What the charts cover',
  WINDOWS.map(name => ({ label: name, href: `/admin/operations?window=${name}` })),
  `/admin/operations?window=${window}`
)}</div>
${
  graphs.length === 0
    ? html`<p class="faint">Charts appear after the second sample.</p>`
    : html`<div class="charts" data-charts="/admin/operations?window=${window}">${graphs.map(
        ({ id, title, series, data }) =>
          html`<figure class="card chart" data-chart="${id}"><figcaption>${title}</figcaption>${sparkline(series[0] || title, data[1] ?? [])}</figure>`
      )}</div>`
}</section>`
}

function known(value: number | null, words: (value: number) => string | Html): string | Html {
  return value === null ? html`<span class="faint">unknown</span>` : words(value)
}

function secondsOf(seconds: number | null): string | Html {
  if (seconds === null) return html`<span class="faint">unknown</span>`
  return seconds < 1 ? `${(seconds * 1_000).toFixed(seconds < 0.01 ? 1 : 0)} ms` : `${seconds.toFixed(2)} s`
}

function bytesOf(bytes: number): string {
  const gigabytes = bytes / 1e9
  return gigabytes >= 1 ? `${gigabytes.toFixed(1)} GB` : `${(bytes / 1e6).toFixed(0)} MB`
}

function spanOf(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} seconds`
  return seconds < 7_200 ? `${Math.round(seconds / 60)} minutes` : `${(seconds / 3_600).toFixed(1)} hours`
}
