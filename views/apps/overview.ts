import { type Html, html } from '../../plugins/lib/html.ts'
import type { AppLogLine } from '../../src/domain/apps/logs.ts'
import type { AppOverview, RecentDeployment } from '../../src/domain/apps/overview.ts'
import type { PendingChanges } from '../../src/domain/apps/pending-changes.ts'
import type { PageContext, View } from '../context.ts'
import {
  ago,
  buttonForm,
  card,
  copyable,
  empty,
  facts,
  figure,
  icon,
  linkButton,
  live,
  notice,
  numberOf,
  plainText,
  status,
  table,
  tag
} from '../parts.ts'
import { type AppFrame, appHeader } from './frame.ts'
import { beganBy, breakable, commitLine, downNotice, sourceName } from './pieces.ts'
import { appState, DEPLOYMENT_STATES, deploymentState, type Measured } from './state.ts'

/** An app's resource usage, as measured by its machines. */
export interface AppFigures {
  readonly cpuPercent: number
  readonly memory: { readonly usedMb: number; readonly totalMb: number }
  readonly requests: { readonly perSec: number; readonly errorRate: number }
  readonly instances: readonly { readonly id: string; readonly region: string; readonly state: string }[]
}

export interface AppPage extends AppFrame {
  readonly overview: Measured<AppOverview>
  readonly recent: readonly Measured<RecentDeployment>[]
  readonly pending: PendingChanges | null
  /** Null: currently unavailable, which is not zero. */
  readonly metrics: AppFigures | null
  readonly errors: readonly AppLogLine[]
  readonly canDeploy: boolean
}

/** One app: its state, what runs, and pending changes. */
export function appPage(page: AppPage): View {
  const { app, overview, url, canDeploy } = page
  const { status: state, since } = appState(overview)
  const hasSource = sourceName(overview) !== null
  return context => ({
    title: `${app.name}: ${state.word.toLowerCase()}`,
    section: 'apps',
    content: html`${live(
      'app',
      [`app:${app.id}`],
      html`${appHeader(
        page,
        context,
        '',
        status(state, since, context.now),
        html`${url !== null && overview.live !== null && html`<a class="button" href="${url}" rel="noopener noreferrer" target="_blank">${icon('external')}Open</a>`}${hasSource && canDeploy && buttonForm(context, `/apps/${app.slug}/deploy`, { label: 'Deploy', icon: 'rocket', kind: 'primary' })}`
      )}${body(context, page, hasSource)}`,
      'stack wide-gap'
    )}${overview.live !== null && page.metrics !== null && readings(app.slug)}`
  })
}

function body(context: PageContext, page: AppPage, hasSource: boolean): Html {
  const { app, overview, pending } = page
  return html`${overview.latest !== null && failed(overview, app.slug, context)}
${pending !== null && waiting(context, pending, app.slug)}
${overview.latest === null ? never(page, hasSource) : html`<div class="columns uneven"><div class="stack">${figures(page)}${deployments(context, page)}</div><div class="stack">${details(page)}${page.errors.length > 0 && recentErrors(context, page)}</div></div>`}`
}

function failed(
  { latest, live: serving, isDown }: Measured<AppOverview>,
  slug: string,
  { now }: PageContext
): Html | false {
  if (isDown) return downNotice(slug)
  const state = DEPLOYMENT_STATES[latest!.status]
  if (state.tone !== 'bad') return false
  return notice({
    tone: 'bad',
    title: html`${latest!.errorMessage ?? state.word}`,
    detail: html`${state.word} ${ago(latest!.updatedAt, now)}. ${serving === null ? html`<strong>Nothing is serving.</strong>` : 'The version before it still serves.'}`,
    actions: linkButton({ label: 'See why', href: `/apps/${slug}/deployments/${latest!.id}` }, 'small')
  })
}

function waiting(context: PageContext, { set, removed, settings }: PendingChanges, slug: string): Html {
  const names = [
    ...set.map(key => html`<code>${key}</code>`),
    ...removed.map(key => html`<code>${key}</code> (removed)`),
    ...settings.map(({ name, from, to }) => html`the ${name} (<code>${from}</code> to <code>${to}</code>)`)
  ]
  return notice({
    tone: 'info',
    title: names.length === 1 ? 'One change is not deployed yet' : `${names.length} changes are not deployed yet`,
    detail: names.map((name, at) => (at === 0 ? name : html`, ${name}`)),
    actions: buttonForm(context, `/apps/${slug}/deploy`, { label: 'Deploy them', size: 'small' })
  })
}

function never({ app, canDeploy }: AppPage, hasSource: boolean): Html {
  if (!hasSource)
    return empty({
      icon: 'branch',
      title: 'It has no source yet',
      why: 'Choose where its code is to deploy it, or deploy an image with the command line.',
      actions: linkButton({ label: 'Choose a source', href: `/apps/${app.slug}/settings`, kind: 'primary' })
    })
  return empty({
    icon: 'rocket',
    title: 'Never deployed',
    why: canDeploy
      ? 'Deploy it with the button above, by a push to its branch, or from your terminal.'
      : 'This server cannot deploy yet: its operators have to set up a builder and a deployer.',
    actions: canDeploy && copyable(`rhone deploy ${app.slug}`)
  })
}

function figures({ metrics, overview }: AppPage): Html {
  if (overview.live === null) return html``
  return card(
    { title: 'Now' },
    html`<div class="figures">${figure('CPU', metrics && numberOf(metrics.cpuPercent), '%')}${figure('Memory', metrics && numberOf(metrics.memory.usedMb), metrics ? `of ${numberOf(metrics.memory.totalMb)} MB` : '')}${figure('Requests', metrics && numberOf(metrics.requests.perSec), '/ s')}${figure('Errors', metrics && numberOf(metrics.requests.errorRate * 100), '%')}</div>
${metrics === null && html`<p class="hint">Its machines do not answer at the moment.</p>`}
${metrics !== null && metrics.instances.length > 0 && html`<p class="row">${metrics.instances.map(({ id, region, state }) => tag(html`${region} · ${state} <code>${id.slice(0, 8)}</code>`))}</p>`}`
  )
}

const READINGS = [
  { id: 'cpu', title: 'CPU', unit: '%', series: 'CPU' },
  { id: 'memory', title: 'Memory', unit: 'MB', series: 'Memory' },
  { id: 'requests', title: 'Requests per second', unit: '', series: 'All,Failed' }
] as const

/** Current figures from the machines; the script draws their history since the page was opened. */
function readings(slug: string): Html {
  return html`<section class="section" aria-labelledby="readings" data-readings="/api/v1/apps/${slug}/metrics" hidden><h2 id="readings">Since you opened this page</h2>
<div class="charts">${READINGS.map(({ id, title, unit, series }) => html`<figure class="card chart" data-chart="${id}" data-unit="${unit}" data-series="${series}"><figcaption>${title}</figcaption></figure>`)}</div></section>`
}

function deployments(context: PageContext, { app, recent }: AppPage): Html {
  return card(
    {
      title: 'Last deployments',
      isFlush: true,
      actions: linkButton({ label: 'All', href: `/apps/${app.slug}/deployments`, kind: 'quiet' }, 'small')
    },
    table(
      'Last deployments',
      [
        {
          label: 'Commit',
          cell: found =>
            html`<a class="row-link" href="/apps/${app.slug}/deployments/${found.id}">${commitLine(found)}</a>`
        },
        { label: 'Status', cell: found => status(deploymentState(found)) },
        {
          label: 'Begun',
          cell: found => html`${ago(found.createdAt, context.now)}<span class="sub">${beganBy(found)}</span>`
        }
      ],
      recent
    )
  )
}

function details({ app, url, overview }: AppPage): Html {
  const { live: serving } = overview
  const source = sourceName(overview)
  return card(
    { title: 'Details' },
    facts(
      [
        ['Source', source === null ? 'none yet' : breakable(source)],
        ['Branch', html`<code>${app.githubBranch}</code>`],
        [
          'Running',
          serving === null ? 'nothing' : html`<code>${serving.commitSha?.slice(0, 7) ?? serving.id.slice(0, 8)}</code>`
        ],
        ['Region', tag(app.region)],
        ['Pushes', app.autoDeploy ? 'deploy' : 'do not deploy'],
        url !== null && [
          'URL',
          html`<a href="${url}" rel="noopener noreferrer" target="_blank">${url.replace(/^https?:\/\//, '').replace(/\/$/, '')}</a>`
        ]
      ],
      'list'
    )
  )
}

function recentErrors({ now }: PageContext, { app, errors }: AppPage): Html {
  return card(
    {
      title: 'Recent errors',
      actions: linkButton({ label: 'Logs', href: `/apps/${app.slug}/logs?level=error`, kind: 'quiet' }, 'small')
    },
    html`<ul class="plain">${errors.map(({ id, at, message }) => html`<li><a href="/apps/${app.slug}/logs#L${id}"><code>${plainText(message).slice(0, 160)}</code></a> <span class="hint">${ago(at, now)}</span></li>`)}</ul>`
  )
}
