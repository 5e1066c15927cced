import { type Html, html } from '../plugins/lib/html.ts'
import type { Page, PageContext, Section, SoloPage } from './context.ts'
import { document } from './document.ts'
import { initial, notice } from './parts/display.ts'
import { type IconName, icon, MARK } from './parts/icons.ts'

/* The frames of pages: the shell for signed-in users, and the plain frame of standalone pages. */

interface NavigationEntry {
  readonly section: Section
  readonly label: string
  readonly icon: IconName
  readonly href: (context: PageContext) => string
  /** The shortcut key, pressed after `g`. */
  readonly key?: string
  readonly for?: 'operators'
}

const ofTeam = (path: string) => (context: PageContext) =>
  context.team === undefined ? path : `${path}?team=${context.team.slug}`

/** The navigation, in order. To add an area of pages, add a line here. */
const NAVIGATION: readonly NavigationEntry[] = [
  { section: 'dashboard', label: 'Dashboard', icon: 'dashboard', href: ofTeam('/dashboard'), key: 'd' },
  { section: 'apps', label: 'Apps', icon: 'apps', href: ofTeam('/apps'), key: 'a' },
  {
    section: 'team',
    label: 'Team',
    icon: 'people',
    href: ({ team }) => (team === undefined ? '/teams/new' : `/teams/${team.slug}`),
    key: 't'
  },
  { section: 'billing', label: 'Billing', icon: 'card', href: ofTeam('/billing') },
  { section: 'settings', label: 'Account', icon: 'user', href: () => '/settings', key: 's' },
  { section: 'admin', label: 'Platform', icon: 'bolt', href: () => '/admin', key: 'p', for: 'operators' }
]

/** The message for each code in `?done=`. To add one, add a line here. */
const DONE: Readonly<Record<string, string>> = {
  created: 'Created.',
  deploying: 'The deployment has started.',
  'rolled-back': 'The rollback has started.',
  cancelled: 'The deployment was cancelled.',
  saved: 'Saved.',
  deleted: 'Deleted.',
  retrying: 'The job is being retried.',
  revoked: 'The invitation was revoked.',
  invited: 'The invitation was created. Its link was shown once; create another if you have not copied it.',
  removed: 'They are no longer in the team.',
  connected: 'The GitHub account is connected.',
  disconnected: 'The GitHub account is no longer connected. At GitHub the App is still installed.',
  left: 'You have left the team.',
  transferred: 'The team has a new owner, and you are an admin of it.',
  joined: 'You are now in the team.',
  declined: 'You declined the invitation.',
  'token-revoked': 'The token was revoked. Programs that use it are now refused.',
  'token-made': 'The token was created. It was shown once, and cannot be read again.',
  'session-ended': 'The session was ended.',
  'sessions-ended': 'All other sessions were ended.',
  'password-changed': 'The password was changed, and all other sessions were ended.'
}

/** A page in the shell. */
export function shellPage(context: PageContext, page: Page): string {
  const { title, content, narrow } = page
  return document(
    { title: `${title} · Rhone` },
    context,
    html`<a class="skip" href="#main">Skip to the content</a>
<div class="shell">
<nav class="top" aria-label="Shortcuts">${brand()}<button type="button" class="button quiet needs-script" data-palette aria-label="Search and go to">${icon('search')}</button><a class="button quiet" href="#side" data-menu aria-label="Menu">${icon('menu')}</a></nav>
${side(context, page)}
<div class="main">
${context.closed !== null && closedBanner(context.closed)}
<main id="main" tabindex="-1"><div class="${narrow ? 'page narrow' : 'page'}">
${doneNotice(context.done)}${content}
</div></main>
</div>
</div>
${palette(context)}
${keysSheet()}
<div class="toasts" data-toasts role="status" aria-live="polite"></div>`
  ).toString()
}

const brand = (target = '/dashboard') => html`<a class="brand" href="${target}">${MARK}Rhone</a>`

function side(context: PageContext, { section }: Page): Html {
  const { viewer } = context
  const entries = NAVIGATION.filter(entry => entry.for === undefined || viewer?.isOperator)
  const link = (entry: NavigationEntry) =>
    html`<a href="${entry.href(context)}"${entry.section === section && html` aria-current="page"`}${entry.key && html` data-go="${entry.key}"`}>${icon(entry.icon)}${entry.label}${entry.key && html`<kbd class="needs-script">G ${entry.key.toUpperCase()}</kbd>`}</a>`
  const [ours, operators] = [entries.filter(entry => !entry.for), entries.filter(entry => entry.for === 'operators')]
  return html`<header class="side" id="side">
${brand()}
${teamSwitcher(context)}
<button type="button" class="side-button framed needs-script" data-palette>${icon('search')}Search<kbd data-mod-k>Ctrl K</kbd></button>
<nav class="nav" aria-label="Main">${ours.map(link)}${operators.length > 0 && html`<h2>Operators</h2>${operators.map(link)}`}</nav>
<div class="side-foot"><nav class="nav" aria-label="Help"><a href="/docs" data-no-prefetch>${icon('docs')}API</a></nav>${viewer && userMenu(context, viewer)}</div>
</header>`
}

function teamSwitcher({ teams, team, path }: PageContext): Html | false {
  if (team === undefined) return false
  const listing = path === '/apps' ? '/apps' : '/dashboard'
  return html`<details class="menu"><summary class="side-button framed">${initial(team.name)}<span class="visually-hidden">Team: </span><span class="truncate">${team.name}</span>${icon('chevron')}</summary>
<div class="items"><p class="hint">Teams</p>${teams.map(
    ({ slug, name }) =>
      html`<a href="${listing}?team=${slug}"${slug === team.slug && html` aria-current="true"`}>${initial(name)}<span class="truncate">${name}</span>${slug === team.slug && icon('check')}</a>`
  )}<hr><a href="/teams/new">${icon('plus')}New team</a></div></details>`
}

function userMenu(context: PageContext, viewer: { username: string; isOperator: boolean }): Html {
  return html`<details class="menu up"><summary class="side-button">${initial(viewer.username, 'round')}<span class="visually-hidden">Account of </span><span class="truncate">${viewer.username}</span></summary>
<div class="items"><a href="/settings">${icon('gear')}Settings</a><button type="button" class="needs-script" data-theme-switch>${icon('palette')}<span>Theme: ${context.theme ?? 'system'}</span></button><button type="button" class="needs-script" data-keys>${icon('bolt')}Keyboard shortcuts</button><hr>
<form method="post" action="/logout"><input type="hidden" name="_csrf" value="${context.csrf()}"><button>${icon('signout')}Sign out</button></form></div></details>`
}

function closedBanner(message: string): Html {
  return html`<div class="banner" role="status">${icon('wrench')}<span><strong>The platform is closed for maintenance.</strong> ${message}</span></div>`
}

function doneNotice(done: string | undefined): Html | false {
  if (done === undefined || !Object.hasOwn(DONE, done)) return false
  return html`<div data-done>${notice({ tone: 'good', title: DONE[done] })}</div>`
}

function palette({ team }: PageContext): Html {
  return html`<dialog class="palette" data-palette-dialog aria-label="Search and go to"${team && html` data-team="${team.slug}"`}>
<label>${icon('search')}<input type="search" role="combobox" aria-expanded="true" aria-controls="palette-list" aria-autocomplete="list" aria-label="Search apps and pages" placeholder="Go to an app or a page" autocomplete="off" spellcheck="false"></label>
<ul class="results" id="palette-list" role="listbox" aria-label="Results"></ul>
<footer><span><kbd>↑</kbd> <kbd>↓</kbd> choose</span><span><kbd>Enter</kbd> open</span><span><kbd>Esc</kbd> close</span></footer>
</dialog>`
}

const KEYS = [
  ['Ctrl K', 'Search and go to'],
  ['/', 'Search on this page'],
  ['G then D', 'Dashboard'],
  ['G then A', 'Apps'],
  ['G then T', 'Team'],
  ['G then S', 'Account'],
  ['G then P', 'Platform, for operators'],
  ['?', 'This list']
] as const

function keysSheet(): Html {
  return html`<dialog class="sheet" data-keys-dialog aria-labelledby="keys-title"><div class="body"><h2 id="keys-title">Keyboard shortcuts</h2><dl>${KEYS.map(([keys, what]) => html`<dt>${keys.split(' ').map(key => (key === 'then' ? html` <span class="faint">then</span> ` : html`<kbd>${key}</kbd> `))}</dt><dd>${what}</dd>`)}</dl><form method="dialog" class="actions"><button class="button">Close</button></form></div></dialog>`
}

/** A standalone page. */
export function soloPage(context: PageContext, { title, content, description, bare }: SoloPage): string {
  const { viewer } = context
  return document(
    { title: title === 'Rhone' ? title : `${title} · Rhone`, description, isPublic: description !== undefined },
    context,
    html`<a class="skip" href="#main">Skip to the content</a>
<div class="solo">
<header class="solo-top">${brand('/')}<a href="/docs" data-no-prefetch>API</a>${viewer ? html`<a class="button" href="/dashboard">Dashboard</a>` : context.path !== '/login' && html`<a class="button" href="/login">Sign in</a>`}</header>
<main id="main" tabindex="-1"${!bare && html` class="solo-main"`}>${content}</main>
${footer()}
</div>`
  ).toString()
}

function footer(): Html {
  return html`<footer class="foot"><span>Rhone, a platform that you run yourself</span><a href="/docs" data-no-prefetch>API</a><a href="/status">Status</a><a href="/terms">Terms</a><a href="/privacy">Privacy</a><a href="/.well-known/security.txt">Security</a></footer>`
}
