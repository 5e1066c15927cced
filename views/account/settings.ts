import { type Html, html } from '../../plugins/lib/html.ts'
import type { PageContext, TeamLink, View } from '../context.ts'
import {
  ago,
  button,
  buttonForm,
  card,
  choices,
  confirmForm,
  facts,
  field,
  form,
  formProblem,
  icon,
  linkButton,
  moment,
  notice,
  type Problem,
  pageHeader,
  secretOnce,
  select,
  table,
  tag,
  type Values
} from '../parts.ts'

export interface SessionRow {
  readonly id: string
  readonly isCurrent: boolean
  readonly method: string
  readonly ip: string | null
  readonly userAgent: string | null
  readonly lastSeenAt: Date | string
  readonly createdAt: Date | string
}

export interface TokenRow {
  readonly id: string
  readonly name: string
  readonly prefix: string
  readonly scopes: readonly string[]
  /** Null: all teams of its owner. */
  readonly teamId: string | null
  readonly expiresAt: Date | string | null
  readonly lastUsedAt: Date | string | null
  readonly lastUsedFrom: string | null
}

export interface AccountSettings {
  readonly user: {
    readonly username: string
    readonly email: string | null
    readonly isOperator: boolean
    readonly createdAt: Date | string
  }
  readonly sessions: readonly SessionRow[]
  readonly tokens: readonly TokenRow[]
  /** Whether there are more sessions or tokens than are shown. */
  readonly isCut: boolean
  /** The name of the account's password; null: it signs in by other means. */
  readonly login: string | null
  /** The password form was refused. */
  readonly problem?: Problem | undefined
}

/** A user's own account: its data, with the forms to change them. */
export function settingsPage(page: AccountSettings): View {
  return context => ({
    title: 'Your account',
    section: 'settings',
    content: html`${pageHeader({ title: 'Your account' })}
${profile(context, page)}${sessionsCard(context, page)}${tokensCard(context, page)}${page.login !== null && passwordCard(context, page.login, page.problem)}${theme(context)}${data()}${danger()}`
  })
}

function profile({ now }: PageContext, { user, login, sessions }: AccountSettings): Html {
  const method = sessions.find(({ isCurrent }) => isCurrent)?.method
  return card(
    { title: 'Profile', id: 'profile' },
    facts([
      ['Name', user.username],
      ['E-mail', user.email ?? html`<span class="faint">none known</span>`],
      (login !== null || method !== undefined) && [
        'Signs in with',
        login === null ? (METHODS[method!] ?? method) : 'a password'
      ],
      user.isOperator && ['Rights', tag('operator', 'accent')],
      ['Since', ago(user.createdAt, now)]
    ])
  )
}

const METHODS: Readonly<Record<string, string>> = { github: 'GitHub', password: 'password', link: 'link' }

function sessionsCard(context: PageContext, { sessions, isCut }: AccountSettings): Html {
  const others = sessions.filter(({ isCurrent }) => !isCurrent)
  return card(
    {
      title: 'Where you are signed in',
      id: 'sessions',
      isFlush: true,
      footer: html`${isCut && html`<span class="hint">Only the newest are shown.</span>`}${others.length > 0 && buttonForm(context, '/settings/sessions/end', { label: 'End all others', size: 'small' })}${buttonForm(context, '/settings/sessions/end', { label: 'Sign out everywhere', size: 'small', kind: 'quiet', confirm: 'Sign out everywhere, here too?' }, { everywhere: 'on' })}`
    },
    sessions.length === 0
      ? html`<div class="body"><p class="faint">No browser sessions.</p></div>`
      : table(
          'Sessions',
          [
            {
              label: 'Browser',
              cell: ({ userAgent, isCurrent }) =>
                html`<span title="${userAgent ?? ''}">${browserName(userAgent)}</span>${isCurrent && html` ${tag('this one', 'accent')}`}`
            },
            { label: 'Address', cell: ({ ip }) => (ip === null ? null : html`<code>${ip}</code>`) },
            { label: 'By', cell: ({ method }) => METHODS[method] ?? method },
            { label: 'Began', cell: ({ createdAt }) => ago(createdAt, context.now) },
            { label: 'Last used', cell: ({ lastSeenAt }) => ago(lastSeenAt, context.now) },
            {
              label: 'Actions',
              isActions: true,
              cell: ({ id, isCurrent }) =>
                !isCurrent &&
                buttonForm(context, `/settings/sessions/${id}/end`, { label: 'End', size: 'small', kind: 'quiet' })
            }
          ],
          sessions
        )
  )
}

const BROWSERS = ['Edg', 'OPR', 'Firefox', 'Chrome', 'Safari', 'curl']
const SYSTEMS = ['Android', 'iPhone', 'iPad', 'Windows', 'Mac OS X', 'Linux']
const NAMES: Readonly<Record<string, string>> = { Edg: 'Edge', OPR: 'Opera', 'Mac OS X': 'macOS' }

/** A browser's name in two words; the order of the lists matters, since browsers name each other. */
function browserName(userAgent: string | null): string {
  if (userAgent === null) return 'Unknown'
  const [browser, system] = [BROWSERS, SYSTEMS].map(names => names.find(name => userAgent.includes(name)))
  if (browser === undefined) return userAgent.slice(0, 40)
  return [browser, system].flatMap(name => (name === undefined ? [] : [NAMES[name] ?? name])).join(' on ')
}

function tokensCard(context: PageContext, { tokens }: AccountSettings): Html {
  const teamName = (id: string) => context.teams.find(team => team.id === id)?.name ?? 'a team that you have left'
  return card(
    {
      title: 'API tokens',
      id: 'tokens',
      isFlush: true,
      actions: linkButton({ label: 'New token', href: '/settings/tokens/new', icon: 'plus' }, 'small')
    },
    tokens.length === 0
      ? html`<div class="body"><p class="faint">None yet. Programs such as the command line and CI act for you with a token.</p></div>`
      : table(
          'API tokens',
          [
            {
              label: 'Name',
              cell: ({ name, prefix }) => html`<strong>${name}</strong> <code class="faint">${prefix}…</code>`
            },
            { label: 'May', cell: ({ scopes }) => scopes.map(scope => html`${tag(scope)} `) },
            { label: 'Reaches', cell: ({ teamId }) => (teamId === null ? 'all your teams' : teamName(teamId)) },
            { label: 'Ends', cell: ({ expiresAt }) => expiry(expiresAt, context.now) },
            {
              label: 'Last used',
              cell: ({ lastUsedAt, lastUsedFrom }) =>
                lastUsedAt === null
                  ? html`<span class="faint">never</span>`
                  : html`${ago(lastUsedAt, context.now)}${lastUsedFrom && html` <code class="faint">${lastUsedFrom}</code>`}`
            },
            {
              label: 'Actions',
              isActions: true,
              cell: ({ id, name }) =>
                buttonForm(context, `/settings/tokens/${id}/revoke`, {
                  label: 'Revoke',
                  size: 'small',
                  kind: 'quiet',
                  confirm: `Revoke ${name}? Programs that use it are refused immediately.`
                })
            }
          ],
          tokens
        )
  )
}

const SOON = 7 * 86_400_000

function expiry(at: Date | string | null, now: Date): Html {
  if (at === null) return html`never`
  const left = new Date(at).getTime() - now.getTime()
  if (left <= 0) return tag('expired', 'warn')
  return left < SOON ? tag(ago(at, now), 'warn') : ago(at, now)
}

function passwordCard(context: PageContext, login: string, problem: Problem | undefined): Html {
  const { fields = {} } = problem ?? {}
  return form(
    context,
    { action: '/settings/password', classes: '', isSecret: true, id: 'password' },
    card(
      {
        title: 'Password',
        footer: html`<span class="hint">All other sessions end.</span>${button({ label: 'Change password' })}`
      },
      html`${formProblem(problem)}<input type="text" name="username" value="${login}" autocomplete="username" hidden disabled>
${field({ name: 'currentPassword', label: 'Current password', type: 'password', autocomplete: 'current-password', isRequired: true, maxLength: 1_024, error: fields.currentPassword })}
${field({ name: 'newPassword', label: 'New password', type: 'password', autocomplete: 'new-password', isRequired: true, minLength: 12, maxLength: 1_024, hint: 'Twelve characters or more. A few words that nobody would guess make a good one.', error: fields.newPassword })}`
    )
  )
}

function theme({ theme: chosen }: PageContext): Html {
  return card(
    { title: 'Theme', id: 'theme' },
    html`<div class="row apart"><p>Pages follow your system unless you choose here. The choice is kept in this browser.</p><button type="button" class="button needs-script" data-theme-switch>${icon('palette')}<span>Theme: ${chosen ?? 'system'}</span></button></div>`
  )
}

function data(): Html {
  return card(
    { title: 'Your data', id: 'data' },
    html`<div class="row apart"><p>Everything that is held about you, as one JSON file. <a href="/privacy">What that is, and for how long</a>.</p><a class="button" href="/api/v1/me/export" download="rhone-export.json" data-no-prefetch>${icon('download')}Export</a></div>`
  )
}

function danger(): Html {
  return card(
    { title: 'Delete your account', isDanger: true, id: 'danger' },
    html`<div class="row apart"><p>Your sessions and tokens end immediately. You can undo it for some days.</p>${linkButton({ label: 'Delete …', href: '/settings/delete', kind: 'danger', icon: 'trash' })}</div>`
  )
}

const CRUMBS = [{ label: 'Your account', href: '/settings' }]

export interface NewTokenPage {
  readonly values: Values
  readonly problem?: Problem | undefined
}

const LIFETIMES = [
  { value: '7', label: '7 days' },
  { value: '30', label: '30 days' },
  { value: '90', label: '90 days' },
  { value: '365', label: 'A year' },
  { value: 'never', label: 'It does not end' }
]

export function newTokenPage({ values, problem }: NewTokenPage): View {
  return context => {
    const { fields = {} } = problem ?? {}
    return {
      title: 'New token',
      section: 'settings',
      narrow: true,
      content: html`${pageHeader({ title: 'New token', crumbs: CRUMBS, about: 'A program that has it acts as you, within these limits.' })}
${form(
  context,
  { action: '/settings/tokens/new' },
  html`${formProblem(problem)}
${field({ name: 'name', label: 'Name', value: values.name, isRequired: true, maxLength: 255, hint: 'What it is for, such as the program and its machine.', error: fields.name, isFirst: true })}
${choices(
  'scope',
  'Scope',
  [
    { value: 'read', label: 'Read', hint: 'See everything, but change nothing.' },
    { value: 'deploy', label: 'Deploy', hint: 'Read, deploy, roll back and cancel. For CI.' },
    { value: 'admin', label: 'Everything', hint: 'Everything that you may do yourself.' }
  ],
  values.scope ?? 'deploy'
)}
${select({ name: 'team', label: 'Teams', value: values.team, error: fields.team, choices: [{ value: '', label: 'All your teams' }, ...teamChoices(context.teams)] })}
${select({ name: 'lifetime', label: 'Ends after', value: values.lifetime ?? '90', error: fields.lifetime, choices: LIFETIMES })}
<div class="actions">${button({ label: 'Create token', kind: 'primary', icon: 'key' })}${linkButton({ label: 'Cancel', href: '/settings#tokens' })}</div>`
)}`
    }
  }
}

const teamChoices = (teams: readonly TeamLink[]) => teams.map(({ slug, name }) => ({ value: slug, label: name }))

/** A new token, shown only once. */
export function tokenOncePage(name: string, token: string): View {
  return () => ({
    title: 'Your new token',
    section: 'settings',
    narrow: true,
    content: html`${pageHeader({ title: name, crumbs: CRUMBS })}
${secretOnce('Your new token', token)}
<p class="hint">Programs send it as <code>Authorization: Bearer …</code>; the command line reads it from <code>RHONE_TOKEN</code>.</p>
${linkButton({ label: 'Done', href: '/settings#tokens', kind: 'primary' })}`
  })
}

/** The confirmation before an account is deleted. @param graceDays days for which it can be undone */
export function deleteAccountPage(graceDays: number, error?: string): View {
  return context => {
    const name = context.viewer?.username ?? ''
    return {
      title: 'Delete your account',
      section: 'settings',
      narrow: true,
      content: html`${pageHeader({ title: 'Delete your account?', crumbs: CRUMBS })}
${card(
  { isDanger: true },
  html`<ul><li>Your sessions and tokens end at once.</li><li>You get a code that undoes it for ${graceDays} days. Then everything about you is erased.</li><li>Teams that only you are in go with it. Teams with other members, apps or a subscription need another owner first.</li><li>The audit log keeps what was done, without your name.</li></ul>
${confirmForm(context, { action: '/settings/delete', word: name, label: 'Delete my account', error })}
${linkButton({ label: 'Keep it', href: '/settings' })}`
)}`
    }
  }
}

/** After the deletion of an account: the code that restores it, shown only once. */
export function accountDeletedPage(code: string, eraseAfter: Date): View {
  return () => ({
    title: 'Your account is deleted',
    section: 'none',
    narrow: true,
    content: html`${pageHeader({ title: 'Your account is deleted' })}
${notice({ tone: 'good', title: 'Your sessions and tokens have ended', detail: html`Everything about you is erased at ${moment(eraseAfter)}.` })}
${secretOnce('The code that undoes it until then', code)}
<p class="hint">To undo it, send the code: <code>POST /api/v1/me/restore</code> with <code>{"code":"…"}</code>, or ask an operator to. Then sign in again.</p>`
  })
}
