import { type Html, html } from '../../plugins/lib/html.ts'
import type { Deployment } from '../../src/domain/deployments/deployments.ts'
import type { PageContext, View } from '../context.ts'
import {
  ago,
  buttonForm,
  card,
  copyable,
  duration,
  facts,
  icon,
  type LogLine,
  live,
  log,
  notice,
  pageHeader,
  type Status,
  type Step,
  status,
  tag,
  timeline
} from '../parts.ts'
import type { AppFrame } from './frame.ts'
import { beganBy, breakable, downNotice, sourceName } from './pieces.ts'
import { DEPLOYMENT_STATES, deploymentState } from './state.ts'

export interface DeploymentPage extends AppFrame {
  readonly deployment: Deployment
  /** It should serve, and the machines say that it does not. */
  readonly isDown: boolean
  readonly by: string | null
  readonly lines: readonly LogLine[]
  /** The chunk after which following continues; null once the deployment is over. */
  readonly after: number | null
  /** Other deployments that wait or run before this one. */
  readonly ahead: number | null
  readonly canRollBack: boolean
}

/** One deployment: its outcome and why, step by step, with its log. */
export function deploymentPage(page: DeploymentPage): View {
  const { app, deployment, lines, after } = page
  const state = stateOf(page)
  const path = `/apps/${app.slug}/deployments/${deployment.id}`
  return context => ({
    title: `${state.word}: deployment ${deployment.id.slice(0, 8)} of ${app.name}`,
    section: 'apps',
    content: html`${live('deployment', [`deployment:${deployment.id}`, `app:${app.id}`], head(context, page), 'stack wide-gap')}
${log({
  label: 'Build log',
  lines,
  quiet: after === null ? 'No output, or the log is older than 90 days.' : 'Waiting for the first line.',
  download: `/api/v1${path}/logs`,
  ...(after !== null && { stream: `/api/v1${path}/logs?after=${after}` })
})}`
  })
}

function stateOf({ deployment: { status }, isDown }: DeploymentPage): Status {
  return deploymentState({ status, isDown })
}

function head(context: PageContext, page: DeploymentPage): Html {
  const { app, deployment, ahead, isDown } = page
  const { status: now, errorMessage, errorLog } = deployment
  const state = stateOf(page)
  return html`${pageHeader({
    title: deployment.commitMessage?.split('\n', 1)[0] || `Deployment ${deployment.id.slice(0, 8)}`,
    crumbs: [
      { label: 'Apps', href: context.team === undefined ? '/apps' : `/apps?team=${context.team.slug}` },
      { label: app.name, href: `/apps/${app.slug}` },
      { label: 'Deployments', href: `/apps/${app.slug}/deployments` }
    ],
    beside: status(state, isDown ? null : deployment.updatedAt, context.now),
    actions: actions(context, page)
  })}
${isDown && downNotice(app.slug)}
${!isDown && state.tone === 'bad' && notice({ tone: 'bad', title: errorMessage ?? state.word, detail: errorLog && html`<pre class="excerpt" tabindex="0">${errorLog}</pre>` })}
${now === 'pending' && ahead !== null && html`<div data-poll>${notice({ tone: 'info', title: placeInLine(ahead), detail: 'It starts as soon as there is capacity.' })}</div>`}
${now === 'cancelled' && errorMessage !== null && notice({ tone: 'info', title: errorMessage })}
<div class="columns">${card({ title: 'Steps' }, timeline(steps(deployment, context.now)))}${card({ title: 'Details' }, details(context, page))}</div>`
}

function placeInLine(ahead: number): string {
  if (ahead === 0) return 'It is next'
  return ahead === 1 ? 'One deployment is ahead of it' : `${ahead} deployments are ahead of it`
}

function actions(context: PageContext, { app, deployment, url, canRollBack }: DeploymentPage): Html {
  const path = `/apps/${app.slug}/deployments/${deployment.id}`
  const { tone } = DEPLOYMENT_STATES[deployment.status]
  return html`${tone === 'busy' && buttonForm(context, `${path}/cancel`, { label: 'Cancel' })}
${tone === 'bad' && buttonForm(context, `/apps/${app.slug}/deploy`, { label: 'Try again', icon: 'redo', kind: 'primary' })}
${canRollBack && buttonForm(context, `/apps/${app.slug}/rollback`, { label: 'Roll back to this', icon: 'rollback', confirm: 'Roll back to this deployment?' }, { deployment: deployment.id })}
${deployment.status === 'live' && url !== null && html`<a class="button primary" href="${url}" rel="noopener noreferrer" target="_blank">${icon('external')}Open</a>`}`
}

function details(context: PageContext, { app, deployment, by }: DeploymentPage): Html {
  const { commitSha, branch, trigger, image, createdAt, rollbackOf, config, id } = deployment
  const source = sourceName(app)
  return html`${facts(
    [
      ['Commit', commitSha === null ? 'newest of the branch' : html`<code>${commitSha.slice(0, 12)}</code>`],
      branch !== null && ['Branch', html`<code>${branch}</code>`],
      ['Source', source === null ? 'an image' : breakable(source)],
      ['Begun', html`${ago(createdAt, context.now)} · ${beganBy({ trigger, by })}`],
      config !== null && ['Region', tag(config.region)],
      rollbackOf !== null && [
        'Rolls back to',
        html`<a href="/apps/${app.slug}/deployments/${rollbackOf}">${rollbackOf.slice(0, 8)}</a>`
      ],
      image !== null && ['Image', html`<code>${image}</code>`]
    ],
    'list'
  )}${copyable(id)}`
}

const BUILDING = new Set(['cloning', 'analyzing', 'building', 'pushing'])

/** Queue, build, release, live: each with its duration. */
function steps(deployment: Deployment, now: Date): Step[] {
  const {
    status: at,
    buildStartedAt,
    buildFinishedAt,
    deployStartedAt,
    deployFinishedAt,
    createdAt,
    rollbackOf,
    image
  } = deployment
  const isOver = ['build_failed', 'deploy_failed', 'cancelled'].includes(at)
  const took = (from: Date | null, to: Date | null) =>
    from === null ? null : duration((to ?? now).getTime() - from.getTime())
  const isUnbuilt = buildStartedAt === null && image !== null
  const begun = buildStartedAt ?? deployStartedAt
  return [
    {
      label: 'Queued',
      state: begun !== null ? 'done' : isOver ? 'skipped' : 'busy',
      took: took(createdAt, begun ?? (isOver ? deployment.updatedAt : null))
    },
    isUnbuilt
      ? {
          label: 'Build',
          state: 'skipped',
          detail: rollbackOf === null ? 'A prebuilt image.' : 'The earlier image is used.'
        }
      : {
          label: 'Build',
          state:
            at === 'build_failed'
              ? 'failed'
              : BUILDING.has(at)
                ? 'busy'
                : buildFinishedAt !== null
                  ? 'done'
                  : isOver
                    ? 'skipped'
                    : 'waiting',
          took: took(buildStartedAt, buildFinishedAt ?? (isOver ? deployment.updatedAt : null)),
          ...(BUILDING.has(at) && { detail: `${DEPLOYMENT_STATES[at].word} …` })
        },
    {
      label: 'Release',
      state:
        at === 'deploy_failed'
          ? 'failed'
          : at === 'deploying'
            ? 'busy'
            : deployFinishedAt !== null
              ? 'done'
              : isOver
                ? 'skipped'
                : 'waiting',
      took: took(deployStartedAt, deployFinishedAt ?? (isOver ? deployment.updatedAt : null))
    },
    {
      label: 'Live',
      state: at === 'live' || at === 'superseded' ? 'done' : isOver ? 'skipped' : 'waiting',
      ...(at === 'superseded' && { detail: 'A newer one has replaced it.' })
    }
  ]
}
