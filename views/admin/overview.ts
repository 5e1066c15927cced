import { type Html, html } from '../../plugins/lib/html.ts'
import type { PageContext, View } from '../context.ts'
import { relative } from '../parts/time.ts'
import {
  ago,
  button,
  card,
  checkbox,
  facts,
  field,
  figure,
  form,
  formProblem,
  linkButton,
  live,
  moment,
  notice,
  type Problem,
  type Status,
  status,
  table,
  tag,
  type Values
} from '../parts.ts'
import { adminPage, count } from './frame.ts'

export interface Overview {
  readonly version: string
  readonly stats: {
    readonly totals: {
      readonly users: number
      readonly teams: number
      readonly apps: number
      readonly deployments: number
    }
    readonly activeBuilds: number
    readonly recentErrors: readonly { readonly code: string; readonly count: number; readonly last: Date | string }[]
    readonly topApps: readonly {
      readonly appId: string
      readonly appName: string
      readonly teamName: string
      readonly machineHours: number | null
      readonly deployments: number
    }[]
    readonly generatedAt: Date | string
  }
  readonly maintenance: {
    readonly enabled: boolean
    readonly message: string | null
    readonly until: string | null
    readonly since: string | null
    readonly by: string | null
  }
  /** Undefined: this server does not check them. */
  readonly services: Readonly<Record<string, string>> | undefined
  /** Waiting jobs by queue; null if a queue's number is unknown. */
  readonly waiting: readonly { readonly queue: string; readonly waiting: number | null }[] | undefined
  /** The newest verified backup; undefined if none is known. */
  readonly backupAt: string | undefined
  readonly values: Values
  readonly problem?: Problem
}

/** The platform at a glance, and the switch for maintenance. */
export function overviewPage(overview: Overview): View {
  return adminPage({
    title: 'Platform',
    tab: '/admin',
    about: 'All teams of this server together.',
    actions: linkButton({ label: 'Status page', href: '/status', icon: 'globe' }),
    content: context => html`${overview.maintenance.enabled && closedNotice(overview, context)}
${live('platform', ['maintenance'], figures(overview, context), 'stack wide-gap')}
<div class="columns uneven">${topApps(overview)}<div class="stack wide-gap">${dependencies(overview)}${recentErrors(overview, context)}</div></div>
${closing(overview, context)}`
  })
}

function closedNotice({ maintenance }: Overview, context: PageContext): Html {
  const { message, until, since, by } = maintenance
  return notice({
    tone: 'warn',
    title: 'The platform is closed',
    detail: html`${since !== null && html`Since ${ago(since, context.now)}`}${by !== null && html`, by ${by}`}. ${
      until === null ? 'It opens when an operator opens it.' : html`It opens by itself at ${moment(until)}.`
    }${message !== null && html`<p>${message}</p>`}`,
    actions: form(
      context,
      { action: '/admin/closing', classes: '' },
      button({ label: 'Open again', name: 'enabled', value: 'no', size: 'small', kind: 'primary' })
    )
  })
}

function figures({ stats, version, waiting, backupAt }: Overview, context: PageContext): Html {
  const { totals, activeBuilds } = stats
  const isKnown = waiting?.every(queue => queue.waiting !== null)
  const inQueues = isKnown ? waiting!.reduce((sum, queue) => sum + queue.waiting!, 0) : null
  return html`<div class="figures">
${figure('Users', count(totals.users))}${figure('Teams', count(totals.teams))}${figure('Apps', count(totals.apps))}${figure('Deployments', count(totals.deployments))}
${figure('Running builds', count(activeBuilds))}${figure('Waiting jobs', inQueues === null ? null : count(inQueues))}${figure('Newest verified backup', backupAt === undefined ? null : relative(backupAt, context.now))}</div>
<p class="hint">Rhone <code>${version}</code>, as of ${ago(stats.generatedAt, context.now)}.</p>`
}

/** Display of each result of a service's health check. */
const SERVICE_STATES: Readonly<Record<string, Status>> = {
  healthy: { tone: 'good', icon: 'ok', word: 'up' },
  unhealthy: { tone: 'bad', icon: 'stop', word: 'down' },
  not_configured: { tone: 'none', icon: 'minus', word: 'not set up' }
}
const UNKNOWN_STATE: Status = { tone: 'none', icon: 'never', word: 'unknown' }

function dependencies({ services: found }: Overview): Html {
  const names = Object.entries(found ?? {})
  return card(
    { title: 'Depends on' },
    names.length === 0
      ? html`<p class="faint">${found === undefined ? 'This server does not measure what it depends on.' : 'No checks yet.'}</p>`
      : facts(
          names.map(([name, state]) => [name, status(SERVICE_STATES[state] ?? UNKNOWN_STATE)]),
          'list'
        )
  )
}

function recentErrors({ stats }: Overview, context: PageContext): Html {
  const { recentErrors: found } = stats
  return card(
    {
      title: 'Errors of 24 hours',
      isFlush: found.length > 0,
      actions: linkButton({ label: 'All', href: '/admin/errors', kind: 'quiet' }, 'small')
    },
    found.length === 0
      ? html`<p>${status({ tone: 'good', icon: 'ok', word: 'None' })}</p>`
      : table(
          'Server errors of the last 24 hours, by code',
          [
            {
              label: 'Code',
              cell: ({ code }) => html`<a class="row-link" href="/admin/errors?code=${code}"><code>${code}</code></a>`
            },
            { label: 'Times', cell: error => count(error.count), isNumber: true },
            { label: 'Last', cell: ({ last }) => ago(last, context.now) }
          ],
          found
        )
  )
}

function topApps({ stats }: Overview): Html {
  const { topApps: found } = stats
  return card(
    { title: 'Busiest apps of this month', isFlush: found.length > 0 },
    found.length === 0
      ? html`<p class="faint">No app was deployed this month.</p>`
      : table(
          'The apps with the most use in this billing period',
          [
            { label: 'App', cell: ({ appName, teamName }) => html`${appName}<span class="sub">${teamName}</span>` },
            { label: 'Deployments', cell: app => count(app.deployments), isNumber: true },
            {
              label: 'Machine hours',
              cell: ({ machineHours }) =>
                machineHours === null ? html`<span class="faint">not metered</span>` : machineHours.toFixed(1),
              isNumber: true
            }
          ],
          found
        )
  )
}

function closing({ maintenance, values, problem }: Overview, context: PageContext): Html {
  const { enabled } = maintenance
  const value = (name: string, stored: unknown) => values[name] ?? stored
  return card(
    {
      title: enabled ? 'Message to visitors' : 'Close for maintenance',
      actions: enabled ? tag('closed', 'warn') : tag('open'),
      id: 'closing'
    },
    html`<p class="faint">While it is closed, all requests except those of operators and probes get a 503 with an explanation. Apps keep running.</p>
${formProblem(problem)}
${form(context, { action: '/admin/closing' }, [
  field({
    name: 'message',
    label: 'Message',
    value: value('message', maintenance.message),
    isLong: true,
    isOptional: true,
    maxLength: 500,
    hint: 'Shown on the page and in API replies. Plain text.',
    error: problem?.fields.message
  }),
  field({
    name: 'until',
    label: 'Opens by itself at',
    value: value('until', maintenance.until?.slice(0, 16)),
    type: 'datetime-local',
    isOptional: true,
    hint: 'In UTC. Empty: when an operator opens it.',
    error: problem?.fields.until
  }),
  !enabled &&
    checkbox({
      name: 'confirm',
      label: 'Yes, turn visitors away now',
      hint: 'It takes effect on every instance within a second.'
    }),
  problem?.fields.confirm && html`<p class="error">${problem.fields.confirm}</p>`,
  html`<div class="actions">${button(
    enabled
      ? { label: 'Save', name: 'enabled', value: 'yes', kind: 'primary' }
      : { label: 'Close the platform', name: 'enabled', value: 'yes', kind: 'danger', icon: 'lock' }
  )}</div>`
])}`
  )
}
