import { type Html, html } from '../plugins/lib/html.ts'
import type { AppOverview, RecentDeployment } from '../src/domain/apps/overview.ts'
import { beganBy, commitLine, downNotice, shortSourceName, sourceName } from './apps/pieces.ts'
import { appState, DEPLOYMENT_STATES, type Measured } from './apps/state.ts'
import type { PageContext, TeamLink, View } from './context.ts'
import { ago, buttonForm, card, copyable, empty, linkButton, live, notice, pageHeader, status, table } from './parts.ts'

export interface Dashboard {
  /** Undefined: the viewer is in no team. */
  readonly team: TeamLink | undefined
  readonly apps: readonly Measured<AppOverview>[]
  readonly recent: readonly RecentDeployment[]
  readonly urlOf: (app: AppOverview) => string | null
}

/** Everything that needs attention first, then the rest. */
export function dashboardPage({ team, apps, recent, urlOf }: Dashboard): View {
  return context => ({
    title: team === undefined ? 'Dashboard' : `Dashboard of ${team.name}`,
    section: 'dashboard',
    content:
      team === undefined
        ? noTeam()
        : html`${pageHeader({
            title: team.name,
            actions: linkButton({
              label: 'New app',
              href: `/apps/new?team=${team.slug}`,
              icon: 'plus',
              kind: apps.length > 0 ? 'primary' : 'quiet'
            })
          })}
${live('dashboard', [`team:${team.id}`], apps.length === 0 ? firstSteps(team, context.viewer?.isOperator === true) : overview(context, { team, apps, recent, urlOf }), 'stack wide-gap')}`
  })
}

function noTeam(): Html {
  return html`${pageHeader({ title: 'Dashboard' })}${empty({
    icon: 'people',
    title: 'You are not in a team',
    why: 'Apps belong to teams. Ask somebody for an invitation, or make a team of your own.',
    actions: linkButton({ label: 'New team', href: '/teams/new', icon: 'plus', kind: 'primary' })
  })}`
}

/** @param hasClone whether the viewer may have the command in a clone of Rhone, rather than in the PATH */
function firstSteps(team: TeamLink, hasClone: boolean): Html {
  return card(
    { title: 'Your first app, in three steps' },
    html`<ol class="steps">
<li><div><strong>Create it</strong><p class="faint">Name it, and say where its code is: a repository on GitHub or any git URL.</p><div class="actions">${linkButton({ label: 'New app', href: `/apps/new?team=${team.slug}`, icon: 'plus', kind: 'primary' })}</div></div></li>
<li><div><strong>Deploy it</strong><p class="faint">With the button on its page, by a push to its branch, or from your terminal:</p>${copyable('rhone deploy --create')}${hasClone && html`<p class="faint">In a clone of Rhone, <code>scripts/rhone</code> is the command <code>rhone</code>.</p>`}</div></li>
<li><div><strong>Open it</strong><p class="faint">It has a URL as soon as it is healthy. Logs, variables and rollbacks are on its page.</p></div></li>
</ol>`
  )
}

function overview(context: PageContext, { team, apps, recent, urlOf }: Dashboard & { team: TeamLink }): Html {
  const states = apps
    .map(app => ({ app, state: appState(app) }))
    .toSorted((one, other) => one.state.urgency - other.state.urgency)
  const failing = states.filter(({ state }) => state.urgency <= 1)
  const building = states.filter(({ state }) => state.urgency === 2)
  return html`${failing.map(({ app }) => failure(context, app))}
${failing.length === 0 && building.length === 0 && html`<p>${status({ tone: 'good', icon: 'ok', word: 'All is well' })} <span class="faint">${apps.length === 1 ? 'One app' : `${apps.length} apps`}, and none needs you.</span></p>`}
${card(
  {
    title: 'Apps',
    isFlush: true,
    actions: linkButton({ label: 'All apps', href: `/apps?team=${team.slug}`, kind: 'quiet' }, 'small')
  },
  table(
    'Apps of the team',
    [
      {
        label: 'App',
        cell: ({ app }) =>
          html`<a class="row-link" href="/apps/${app.slug}">${app.name}</a><span class="sub clip">${shortSourceName(app)}</span>`
      },
      { label: 'Status', cell: ({ state }) => status(state.status, state.since, context.now) },
      { label: 'Last deployment', cell: ({ app }) => app.latest && commitLine(app.latest) },
      { label: 'URL', cell: ({ app }) => link(urlOf(app), app.live !== null) },
      {
        label: 'Actions',
        isActions: true,
        cell: ({ app }) =>
          sourceName(app) !== null &&
          html`<div class="actions">${buttonForm(context, `/apps/${app.slug}/deploy`, { label: 'Deploy', size: 'small' })}</div>`
      }
    ],
    states
  )
)}
${recent.length > 0 && card({ title: 'Last deployments', isFlush: true }, deploymentTable(context, recent))}`
}

function failure(context: PageContext, { name, slug, latest, live: serving, isDown }: Measured<AppOverview>): Html {
  if (isDown) return downNotice(slug, name)
  const { word } = DEPLOYMENT_STATES[latest!.status]
  return notice({
    tone: 'bad',
    title: html`${name}: ${word.toLowerCase()} ${ago(latest!.updatedAt, context.now)}`,
    detail: html`${latest!.errorMessage}${serving === null ? html` <strong>Nothing is serving.</strong>` : ' The version before it still serves.'}`,
    actions: linkButton({ label: 'See why', href: `/apps/${slug}/deployments/${latest!.id}` }, 'small')
  })
}

function link(url: string | null, isLive: boolean): Html | null {
  if (url === null || !isLive) return null
  return html`<a class="clip" href="${url}" rel="noopener noreferrer" target="_blank">${url.replace(/^https?:\/\//, '').replace(/\/$/, '')}</a>`
}

function deploymentTable(context: PageContext, recent: readonly RecentDeployment[]): Html {
  return table(
    'Last deployments of the team',
    [
      {
        label: 'Deployment',
        cell: ({ id, app }) =>
          html`<a class="row-link" href="/apps/${app.slug}/deployments/${id}">${app.name}</a><span class="sub"><code>${id.slice(0, 8)}</code></span>`
      },
      { label: 'Status', cell: found => status(DEPLOYMENT_STATES[found.status]) },
      { label: 'Commit', cell: commitLine },
      {
        label: 'Begun',
        cell: found => html`${ago(found.createdAt, context.now)}<span class="sub">${beganBy(found)}</span>`
      }
    ],
    recent
  )
}
