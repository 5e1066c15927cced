import { type Html, html } from '../../plugins/lib/html.ts'
import type { EnvVar } from '../../src/domain/apps/env-vars.ts'
import type { PageContext, View } from '../context.ts'
import {
  ago,
  button,
  buttonForm,
  card,
  checkbox,
  choices,
  confirmForm,
  field,
  form,
  formProblem,
  linkButton,
  notice,
  type Problem,
  pageHeader,
  select,
  table,
  tag,
  type Values
} from '../parts.ts'
import { type AppFrame, appHeader } from './frame.ts'

export interface AppSettings extends AppFrame {
  readonly regions: readonly {
    readonly code: string
    readonly name: string
    readonly continent: string
    readonly available: boolean
  }[]
  readonly envVars: readonly EnvVar[]
  /** Whether the viewer may change anything; members may only read. */
  readonly mayChange: boolean
  /** The refused form, with its submitted values. */
  readonly refused?:
    | { readonly form: 'general' | 'source' | 'env'; readonly values: Values; readonly problem: Problem }
    | undefined
}

/** The settings of an app: one form per part, so that saving one keeps what was typed in another. */
export function appSettingsPage(page: AppSettings): View {
  const { app, mayChange } = page
  return context => ({
    title: `Settings of ${app.name}`,
    section: 'apps',
    content: html`${appHeader(page, context, '/settings', null)}
${!mayChange && notice({ tone: 'info', title: 'You can read these settings, but not change them', detail: 'That needs the role admin, which an owner of the team can give you.' })}
${general(context, page)}${source(context, page)}${mayChange && variables(context, page)}${mayChange && danger(app.slug)}`
  })
}

/** The values of a form: as submitted if it was refused, else the current ones. */
function valuesOf(
  { refused }: AppSettings,
  name: 'general' | 'source' | 'env',
  now: Values
): { values: Values; errors: Readonly<Record<string, string>>; problem: Html | false } {
  if (refused?.form !== name) return { values: now, errors: {}, problem: false }
  const { problem, values } = refused
  return { values, errors: problem.fields, problem: html`${formProblem(problem)}${differences(now, values)}` }
}

/** Someone else changed the settings first: shows their values next to the submitted ones. */
function differences(now: Values, sent: Values): Html | false {
  const other = Object.keys(now).filter(key => key in sent && String(now[key] ?? '') !== String(sent[key] ?? ''))
  if (other.length === 0) return false
  return html`<p class="hint">As it is now: ${other.map((key, at) => html`${at > 0 && ', '}${key} <code>${String(now[key] ?? 'empty')}</code>`)}.</p>`
}

function general(context: PageContext, page: AppSettings): Html {
  const { app, regions, mayChange } = page
  const { values, errors, problem } = valuesOf(page, 'general', { name: app.name, region: app.region })
  return form(
    context,
    { action: `/apps/${app.slug}/settings`, revision: app.version, classes: '' },
    card(
      {
        title: 'General',
        id: 'general',
        ...(mayChange && {
          footer: html`<span class="hint">A new region applies with the next deployment.</span>${button({ label: 'Save', name: 'part', value: 'general' })}`
        })
      },
      html`${problem}${field({ name: 'name', label: 'Name', value: values.name, isRequired: true, maxLength: 255, error: errors.name, isReadonly: !mayChange })}${field({ name: 'slug', label: 'Slug', value: app.slug, isReadonly: true, isCode: true, hint: 'It is part of the URL, and cannot change.' })}${select({ name: 'region', label: 'Region', value: values.region, error: errors.region, choices: regions.filter(({ available, code }) => available || code === app.region).map(({ code, name, continent }) => ({ value: code, label: `${name} · ${code}`, group: continent })) })}`
    )
  )
}

function source(context: PageContext, page: AppSettings): Html {
  const { app, mayChange } = page
  const now = {
    source: app.githubRepo !== null ? 'github' : 'git',
    repository: app.githubRepo ?? app.gitUrl ?? '',
    branch: app.githubBranch,
    directory: app.rootDirectory ?? '',
    autoDeploy: app.autoDeploy ? 'on' : ''
  }
  const { values, errors, problem } = valuesOf(page, 'source', now)
  return form(
    context,
    { action: `/apps/${app.slug}/settings`, revision: app.version, classes: '' },
    card(
      {
        title: 'Source',
        id: 'source',
        ...(mayChange && {
          footer: html`<span class="hint">Applies with the next deployment.</span>${button({ label: 'Save', name: 'part', value: 'source' })}`
        })
      },
      html`${problem}${choices(
        'source',
        'Kind',
        [
          { value: 'git', label: 'A git URL', icon: 'globe' },
          { value: 'github', label: 'GitHub', icon: 'github' }
        ],
        values.source
      )}${field({ name: 'repository', label: 'Repository', value: values.repository, isOptional: true, isCode: true, maxLength: 500, error: errors.repository ?? errors.gitUrl ?? errors.githubRepo, isReadonly: !mayChange })}${field({ name: 'branch', label: 'Branch', value: values.branch, isCode: true, maxLength: 255, error: errors.branch ?? errors.githubBranch, isReadonly: !mayChange })}${field({ name: 'directory', label: 'Directory', value: values.directory, isOptional: true, isCode: true, maxLength: 255, error: errors.directory ?? errors.rootDirectory, isReadonly: !mayChange })}${checkbox({ name: 'autoDeploy', label: 'Deploy every push to the branch', isChecked: values.autoDeploy === 'on' })}`
    )
  )
}

function variables(context: PageContext, page: AppSettings): Html {
  const { app, envVars } = page
  const action = `/apps/${app.slug}/settings/env`
  const { values, problem } = valuesOf(page, 'env', {})
  return html`${card(
    { title: 'Variables', id: 'env', isFlush: true },
    envVars.length === 0
      ? html`<div class="body"><p class="faint">None yet. Apps get them as env vars; nobody can read their values here.</p></div>`
      : table(
          'Variables',
          [
            { label: 'Name', cell: ({ key }) => html`<code>${key}</code>` },
            { label: 'Visible', cell: ({ buildTime }) => tag(buildTime ? 'builds and the app' : 'the app') },
            { label: 'Changed', cell: ({ updatedAt }) => ago(updatedAt, context.now) },
            {
              label: 'Actions',
              isActions: true,
              cell: ({ key }) =>
                buttonForm(
                  context,
                  `${action}/delete`,
                  { label: 'Delete', size: 'small', kind: 'quiet', confirm: `Delete ${key}?` },
                  { key }
                )
            }
          ],
          envVars
        )
  )}
${form(
  context,
  { action, classes: '', isSecret: true },
  card(
    {
      title: 'Set variables',
      footer: html`<span class="hint">They apply with the next deployment.</span>${button({ label: 'Save', name: 'next', value: 'stay' })}${button({ label: 'Save and deploy', name: 'next', value: 'deploy', kind: 'primary' })}`
    },
    html`${problem}${field({ name: 'lines', label: 'Variables', isLong: true, isRequired: true, isCode: true, value: values.lines, placeholder: 'API_KEY=s3cret', hint: 'One NAME=value per line, as in a .env file. Existing ones get the new value.' })}${checkbox({ name: 'buildTime', label: 'Also set them during builds', isChecked: values.buildTime === 'on' })}`
  )
)}`
}

function danger(slug: string): Html {
  return card(
    { title: 'Delete this app', isDanger: true, id: 'danger' },
    html`<div class="row apart"><p>It stops at once, and its deployments, variables and logs go with it.</p>${linkButton({ label: 'Delete …', href: `/apps/${slug}/delete`, kind: 'danger', icon: 'trash' })}</div>`
  )
}

export interface DeleteApp extends AppFrame {
  readonly counts: { readonly deployments: number; readonly envVars: number }
  readonly isServing: boolean
  readonly isBuilding: boolean
  readonly error?: string | undefined
}

/** The confirmation before an app is deleted. */
export function deleteAppPage({ app, counts, isServing, isBuilding, error }: DeleteApp): View {
  return context => ({
    title: `Delete ${app.name}`,
    section: 'apps',
    narrow: true,
    content: html`${pageHeader({
      title: `Delete ${app.name}?`,
      crumbs: [
        { label: app.name, href: `/apps/${app.slug}` },
        { label: 'Settings', href: `/apps/${app.slug}/settings` }
      ]
    })}
${card(
  { isDanger: true },
  html`<p>This cannot be undone. It ${isServing ? html`<strong>serves traffic now</strong>, and stops at once` : 'serves nothing at the moment'}.</p>
${isBuilding && html`<p>A deployment is under way; it is cancelled.</p>`}
<ul><li>${counts.deployments === 1 ? 'One deployment' : `${counts.deployments} deployments`} with logs and images go.</li><li>${counts.envVars === 1 ? 'One variable goes' : `${counts.envVars} variables go`}, and no copy can be read anywhere.</li><li>The repository stays as it is, and so does the audit log.</li></ul>
${confirmForm(context, { action: `/apps/${app.slug}/delete`, word: app.slug, label: 'Delete the app', error, revision: app.version })}
${linkButton({ label: 'Keep it', href: `/apps/${app.slug}/settings` })}`
)}`
  })
}
