import { type Html, html } from '../../plugins/lib/html.ts'
import type { AppOverview } from '../../src/domain/apps/overview.ts'
import type { PageContext, TeamLink, View } from '../context.ts'
import {
  button,
  buttonForm,
  card,
  copyable,
  empty,
  icon,
  linkButton,
  live,
  notice,
  pageHeader,
  status,
  table,
  tag
} from '../parts.ts'
import { commitLine, shortSourceName, sourceName } from './pieces.ts'
import { appState, type Measured } from './state.ts'

export interface AppList {
  readonly team: TeamLink | undefined
  readonly apps: readonly Measured<AppOverview>[]
  readonly text: string | undefined
  readonly sort: 'attention' | 'name' | 'deployed' | 'created'
  /** The list is incomplete. */
  readonly isCut: boolean
  readonly urlOf: (app: AppOverview) => string | null
}

const SORTS = { attention: 'Attention first', name: 'Name', deployed: 'Last deployed', created: 'Newest' } as const

/** The apps of a team. Filters and order are in the URL. */
export function appListPage(list: AppList): View {
  const { team, apps, text, isCut } = list
  return context => ({
    title: text ? `Apps with “${text}”` : 'Apps',
    section: 'apps',
    content: html`${pageHeader({
      title: 'Apps',
      actions:
        team && linkButton({ label: 'New app', href: `/apps/new?team=${team.slug}`, icon: 'plus', kind: 'primary' })
    })}
${(apps.length > 0 || text) && filters(list)}
${live('apps', team === undefined ? [] : [`team:${team.id}`], html`${isCut && notice({ tone: 'info', title: `The first ${apps.length} are shown`, detail: 'Search for the others.' })}${apps.length > 0 ? card({ isFlush: true }, rows(context, list)) : nothing(list)}`)}`
  })
}

function filters({ team, text, sort }: AppList): Html {
  return html`<form class="row" method="get" action="/apps" role="search">${team && html`<input type="hidden" name="team" value="${team.slug}">`}
<div class="search">${icon('search')}<input class="input" type="search" name="q" value="${text}" aria-label="Search apps" placeholder="Name or repository" autocomplete="off" spellcheck="false" data-slash></div>
<select class="input auto" name="sort" aria-label="Sort by" data-submit-on-change>${Object.entries(SORTS).map(([value, label]) => html`<option value="${value}"${value === sort && html` selected`}>${label}</option>`)}</select>
${button({ label: 'Apply' })}</form>`
}

const SORTING: Readonly<Record<AppList['sort'], (one: Measured<AppOverview>, other: Measured<AppOverview>) => number>> =
  {
    attention: (one, other) => appState(one).urgency - appState(other).urgency,
    name: (one, other) => one.name.localeCompare(other.name, 'en'),
    deployed: (one, other) => (other.latest?.createdAt ?? '').localeCompare(one.latest?.createdAt ?? ''),
    created: (one, other) => other.createdAt.localeCompare(one.createdAt)
  }

function rows(context: PageContext, { apps, sort, urlOf }: AppList): Html {
  return table(
    'Apps',
    [
      {
        label: 'App',
        cell: app =>
          html`<a class="row-link" href="/apps/${app.slug}">${app.name}</a><span class="sub clip">${shortSourceName(app)}</span>`
      },
      { label: 'Status', cell: app => status(appState(app).status, appState(app).since, context.now) },
      { label: 'Last deployment', cell: app => app.latest && commitLine(app.latest) },
      { label: 'Region', cell: app => tag(app.region) },
      {
        label: 'Actions',
        isActions: true,
        cell: app =>
          html`<div class="actions">${openLink(urlOf(app), app)}${sourceName(app) !== null && buttonForm(context, `/apps/${app.slug}/deploy`, { label: 'Deploy', size: 'small' })}</div>`
      }
    ],
    apps.toSorted(SORTING[sort])
  )
}

function openLink(url: string | null, { live: serving, name }: AppOverview): Html | false {
  if (url === null || serving === null) return false
  return html`<a class="button quiet small" href="${url}" rel="noopener noreferrer" target="_blank" aria-label="Open ${name}">${icon('external')}</a>`
}

/** A team without apps gets another text than a filter without matches. */
function nothing({ team, text }: AppList): Html {
  if (text)
    return empty({
      icon: 'search',
      title: `No app has “${text}”`,
      why: 'Names, slugs and repositories were searched.',
      actions: linkButton({ label: 'Show all apps', href: team === undefined ? '/apps' : `/apps?team=${team.slug}` })
    })
  if (team === undefined)
    return empty({
      icon: 'people',
      title: 'You are not in a team',
      why: 'Apps belong to teams.',
      actions: linkButton({ label: 'New team', href: '/teams/new', icon: 'plus' })
    })
  return empty({
    icon: 'apps',
    title: 'No apps yet',
    why: 'An app is a repository, built and served under a URL of its own.',
    actions: html`${linkButton({ label: 'New app', href: `/apps/new?team=${team.slug}`, icon: 'plus', kind: 'primary' })}${copyable('rhone apps create hello')}`
  })
}
