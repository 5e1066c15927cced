import { type Html, html } from '../../plugins/lib/html.ts'
import type { TeamLink, View } from '../context.ts'
import {
  button,
  card,
  choices,
  field,
  form,
  formProblem,
  icon,
  linkButton,
  notice,
  type Problem,
  pageHeader,
  select,
  type Values
} from '../parts.ts'

/** Repositories to choose from at GitHub. */
export interface FoundRepositories {
  /** `none`: no account is connected; `away`: GitHub does not answer. */
  readonly state: 'found' | 'none' | 'away'
  readonly repositories: readonly {
    readonly fullName: string
    readonly isPrivate: boolean
    readonly defaultBranch: string
  }[]
}

export interface NewApp {
  readonly teams: readonly TeamLink[]
  readonly team: TeamLink | undefined
  readonly regions: readonly {
    readonly code: string
    readonly name: string
    readonly continent: string
    readonly available: boolean
  }[]
  /** Whether this server has access to GitHub. */
  readonly hasGithub: boolean
  /** The part of the app's host name after the slug; null if unknown. */
  readonly hostSuffix: string | null
  /** Whether this server can deploy at all. */
  readonly canDeploy: boolean
  readonly values: Values
  readonly problem?: Problem
  /** Null or absent: this server has no GitHub App. */
  readonly found?: FoundRepositories | null
  /** The search text. */
  readonly find?: string | undefined
}

/** The form for a new app. */
export function newAppPage(page: NewApp): View {
  const { teams, team, regions, hasGithub, hostSuffix, canDeploy, values, problem } = page
  const errors = problem?.fields ?? {}
  return context => ({
    title: 'New app',
    section: 'apps',
    narrow: true,
    content: html`${pageHeader({
      title: 'New app',
      crumbs: [{ label: 'Apps', href: team === undefined ? '/apps' : `/apps?team=${team.slug}` }],
      about: 'A repository becomes a running app with a URL. Everything here can be changed later.'
    })}
${formProblem(problem)}
${!canDeploy && notice({ tone: 'warn', title: 'This server cannot deploy yet', detail: 'You can create the app now; its operators have to set up a builder and a deployer before it can run.' })}
${repositoryCard(page)}
${form(context, { action: '/apps/new' }, [
  card(
    { title: 'Name' },
    html`${
      teams.length > 1
        ? select({
            name: 'team',
            label: 'Team',
            value: team?.slug,
            choices: teams.map(({ slug, name }) => ({ value: slug, label: name })),
            error: errors.team
          })
        : html`<input type="hidden" name="team" value="${team?.slug ?? ''}">`
    }${field({ name: 'name', label: 'Name', value: values.name, isRequired: true, maxLength: 255, error: errors.name, isFirst: true, hint: 'The display name.' })}${field({ name: 'slug', label: 'Slug', value: values.slug, isOptional: true, isCode: true, maxLength: 63, error: errors.slug, hint: 'Names it in URLs; derived from the name if empty.', ...(hostSuffix !== null && { after: hostSuffix }) })}`
  ),
  card(
    { title: 'Where its code is' },
    html`${choices(
      'source',
      'Source',
      [
        { value: 'git', label: 'A git URL', icon: 'globe', hint: 'Any repository that can be read over https.' },
        {
          value: 'github',
          label: 'GitHub',
          icon: 'github',
          hint: hasGithub
            ? 'A repository that the GitHub App can read, or a public one.'
            : 'Public repositories; private ones need the GitHub App, which is not set up here.'
        },
        {
          value: 'none',
          label: 'Later',
          icon: 'terminal',
          hint: 'Choose a source, or deploy an image, when you are ready.'
        }
      ],
      values.source ?? 'git'
    )}${field({ name: 'repository', label: 'Repository', value: values.repository, isOptional: true, isCode: true, maxLength: 500, placeholder: 'https://git.example.com/acme/website.git', error: errors.repository ?? errors.gitUrl ?? errors.githubRepo, hint: 'A URL, or owner/name on GitHub.' })}${field({ name: 'branch', label: 'Branch', value: values.branch ?? 'main', isCode: true, maxLength: 255, error: errors.branch ?? errors.githubBranch, hint: 'A push to it deploys.' })}${field({ name: 'directory', label: 'Directory', value: values.directory, isOptional: true, isCode: true, maxLength: 255, placeholder: 'packages/web', error: errors.directory ?? errors.rootDirectory, hint: 'Where the app is within the repository.' })}`
  ),
  card(
    { title: 'Where it runs' },
    select({
      name: 'region',
      label: 'Region',
      value: values.region ?? 'iad',
      choices: regions
        .filter(({ available }) => available)
        .map(({ code, name, continent }) => ({ value: code, label: `${name} · ${code}`, group: continent })),
      error: errors.region
    })
  ),
  html`<div class="actions">${canDeploy && button({ label: 'Create and deploy', kind: 'primary', name: 'next', value: 'deploy' })}${button({ label: 'Create', name: 'next', value: 'stay', ...(!canDeploy && { kind: 'primary' as const }) })}${linkButton({ label: 'Cancel', href: team === undefined ? '/apps' : `/apps?team=${team.slug}`, kind: 'quiet' })}</div>`
])}`
  })
}

/**
 * Repositories of the team's GitHub accounts: one click fills the form. A separate form, so that it works without a
 * script.
 */
function repositoryCard({ team, found, find, values }: NewApp): Html | false {
  if (!found || team === undefined) return false
  if (found.state === 'none')
    return notice({
      tone: 'info',
      title: 'Deploy from GitHub',
      detail: 'Connect an account to choose its repositories here. Pushes then deploy.',
      actions: html`<a class="button small" href="/github/connect?team=${team.slug}" data-no-prefetch>${icon('github')}Connect</a>`
    })
  const choose = (name: string, branch: string) =>
    `/apps/new?${new URLSearchParams({ team: team.slug, repository: name, branch, ...(find && { find }) })}`
  return card(
    { title: 'Choose a repository at GitHub', id: 'repositories' },
    html`<form method="get" action="/apps/new" class="row" role="search"><input type="hidden" name="team" value="${team.slug}">
<div class="search">${icon('search')}<input class="input" type="search" name="find" value="${find}" maxlength="140" aria-label="Search repositories" placeholder="Search repositories" autocomplete="off" spellcheck="false" data-slash></div>${button({ label: 'Search' })}</form>
${found.state === 'away' && html`<p class="faint">GitHub does not answer at the moment. Type the repository below, or try again.</p>`}
${found.state === 'found' && found.repositories.length === 0 && html`<p class="faint">${find ? `No repository has “${find}” in its name.` : 'The connected accounts give the App access to no repository.'}</p>`}
${found.repositories.length > 0 && html`<ul class="options">${found.repositories.map(({ fullName, isPrivate, defaultBranch }) => html`<li><a href="${choose(fullName, defaultBranch)}"${fullName === values.repository && html` aria-current="true"`}>${icon(isPrivate ? 'lock' : 'branch')}<span class="truncate">${fullName}</span><span class="faint">${defaultBranch}</span></a></li>`)}</ul>`}`
  )
}
