import { type Html, html } from '../plugins/lib/html.ts'
import { DEPLOYMENT_STATES } from './apps/state.ts'
import type { PageContext, SoloView, Theme } from './context.ts'
import { ICONS } from './parts/icons.ts'
import {
  ago,
  asOf,
  button,
  buttonForm,
  card,
  checkbox,
  choices,
  confirmForm,
  copyable,
  duration,
  empty,
  facts,
  field,
  figure,
  form,
  formProblem,
  icon,
  initial,
  linkButton,
  log,
  meter,
  moment,
  notice,
  pageHeader,
  pager,
  secretOnce,
  select,
  sparkline,
  status,
  table,
  tabs,
  tag,
  timeline
} from './parts.ts'

const COLOURS = [
  'page',
  'panel',
  'card',
  'raised',
  'hover',
  'chosen',
  'line',
  'control',
  'text',
  'faint',
  'accent',
  'good',
  'warn',
  'bad'
] as const
const ESCAPE = '\u001b'

/** Every part of the pages in every state, in both themes, for developers and for the tests. */
export function designPage(): SoloView {
  return context => ({
    title: 'Design',
    bare: true,
    content: html`<div class="landing"><header class="stack tight"><h1>Design</h1><p class="faint">Every part, in every state, in both themes. The functions are in <code>views/parts</code>.</p></header>
${(['light', 'dark'] as const).map(theme => specimen(context, theme))}</div>`
  })
}

function specimen(context: PageContext, theme: Theme): Html {
  const { now } = context
  const before = (minutes: number) => new Date(now.getTime() - minutes * 60_000)
  const id = (name: string) => `${name}-${theme}`
  const rows = [
    { name: 'website', state: DEPLOYMENT_STATES.live, at: before(3), size: 128 },
    {
      name: 'a-service-with-a-rather-long-name-that-wraps',
      state: DEPLOYMENT_STATES.build_failed,
      at: before(190),
      size: 5
    },
    { name: 'worker', state: DEPLOYMENT_STATES.building, at: before(0.1), size: 64 }
  ]
  return html`<section class="specimen" data-theme="${theme}" aria-label="${theme}">
<h2>Colours</h2><div class="swatches">${COLOURS.map(name => html`<div><svg class="swatch" viewBox="0 0 10 4" aria-hidden="true"><rect class="fill-${name}" width="10" height="4"/></svg>${name}</div>`)}</div>
<h2>Page header</h2>
${pageHeader({ title: 'website', crumbs: theme === 'light' ? [{ label: 'Apps', href: '/apps' }] : [], beside: status(DEPLOYMENT_STATES.live, before(3), now), about: 'A sentence about the page.', actions: html`${linkButton({ label: 'Open', href: '/', icon: 'external' })}${linkButton({ label: 'Deploy', href: '/', icon: 'rocket', kind: 'primary' })}` })}
${tabs(
  `Parts of website, ${theme}`,
  [
    { label: 'Overview', href: '/a' },
    { label: 'Deployments', href: '/b' },
    { label: 'Logs', href: '/c' },
    { label: 'Settings', href: '/d' }
  ],
  '/a'
)}
<h2>Buttons</h2>
<div class="row">${button({ label: 'Save', kind: 'primary' })}${button({ label: 'Cancel' })}${button({ label: 'More', kind: 'quiet' })}${button({ label: 'Delete', kind: 'danger', icon: 'trash' })}${button({ label: 'Small', size: 'small' })}<button class="button" disabled>Off</button><button class="button primary" aria-busy="true">Sending</button>${buttonForm(context, '/nowhere', { label: 'A form', icon: 'redo' })}</div>
<h2>Status</h2>
<div class="row">${Object.values(DEPLOYMENT_STATES).map(state => status(state))}${status({ tone: 'warn', icon: 'warn', word: 'Degraded' }, before(12), now)}${status({ tone: 'none', icon: 'never', word: 'Never deployed' })}${tag('iad')}${tag('owner', 'accent')}${tag('pre-release', 'warn')}${initial('Ada')}${initial('grace', 'round')}</div>
<h2>Notices</h2>
<div class="stack">${notice({ tone: 'info', title: 'Changes are not deployed yet', detail: html`<code>DATABASE_TOKEN</code> and the region changed.`, actions: button({ label: 'Deploy', size: 'small' }) })}${notice({ tone: 'good', title: 'Saved.' })}${notice({ tone: 'warn', title: 'You have used 82 % of this month’s builds' })}${notice({ tone: 'bad', title: 'website: build failed', detail: 'npm ci ended with code 1: there is no package-lock.json.' })}</div>
<h2>Table</h2>
${card(
  { title: 'Apps', isFlush: true, actions: linkButton({ label: 'All', href: '/', kind: 'quiet' }, 'small') },
  table(
    `Apps, ${theme}`,
    [
      {
        label: 'App',
        cell: row =>
          html`<a class="row-link" href="/design">${row.name}</a><span class="sub">git.example.com/acme/${row.name}</span>`
      },
      { label: 'Status', cell: row => status(row.state, row.at, now) },
      { label: 'Memory', isNumber: true, cell: row => `${row.size} MB` },
      {
        label: 'Actions',
        isActions: true,
        cell: () => html`<div class="actions">${button({ label: 'Deploy', size: 'small' })}</div>`
      }
    ],
    rows
  )
)}
${theme === 'light' && pager(50, '?cursor=x', '?')}
<h2>Facts and figures</h2>
<div class="columns">${card(
    { title: 'Facts' },
    facts(
      [
        ['Commit', html`<code>0c16d8e</code>`],
        ['Begun', ago(before(44), now)],
        ['Until', moment(before(-1_440))],
        ['Took', duration(83_000)],
        ['Region', tag('iad')]
      ],
      'list'
    )
  )}${card({ title: 'Figures' }, html`<div class="facts">${figure('CPU', '12', '%')}${figure('Memory', '148', 'MB')}${figure('Requests', null)}</div>${sparkline('Requests per second', [1, 3, 2, 6, 8, 7, null, 4, 9, 12, 10])}`)}</div>
${card({ title: 'Meters' }, [meter({ label: 'Machine hours', used: 212.4, limit: 500, unit: 'h' }), meter({ label: 'Builds', used: 164, limit: 200 }), meter({ label: 'Traffic', used: 103, limit: 100, unit: 'GB' }), meter({ label: 'Members', used: 4, limit: null }), meter({ label: 'Unknown', used: null, limit: 10 })])}${asOf(before(2), context)}
<h2>Forms</h2>
<div class="columns">${card(
    {
      title: 'Fields',
      footer: html`<span class="hint">Applies with the next deployment.</span>${button({ label: 'Save', kind: 'primary' })}`
    },
    [
      field({ name: id('name'), label: 'Name', value: 'website', hint: 'The display name.' }),
      field({
        name: id('slug'),
        label: 'Slug',
        value: 'Web Site',
        error: 'Must be lower-case letters and digits, such as hello',
        isCode: true,
        after: '.example.com'
      }),
      field({ name: id('optional'), label: 'Directory', isOptional: true, placeholder: 'packages/web', isCode: true }),
      field({ name: id('fixed'), label: 'Address', value: 'ada@example.com', isReadonly: true }),
      select({
        name: id('region'),
        label: 'Region',
        value: 'fra',
        choices: [
          { value: 'iad', label: 'Ashburn · iad', group: 'North America' },
          { value: 'fra', label: 'Frankfurt · fra', group: 'Europe' }
        ]
      }),
      checkbox({ name: id('auto'), label: 'Deploy every push', isChecked: true, hint: 'To the branch main.' }),
      field({ name: id('vars'), label: 'Variables', isLong: true, value: 'A=1\nB=2' })
    ]
  )}${card({ title: 'Choices and problems' }, [
    formProblem({ message: 'One field needs a correction', fields: {} }),
    choices(
      id('source'),
      'Source',
      [
        { value: 'git', label: 'A git URL', icon: 'globe', hint: 'Any repository over https.' },
        { value: 'github', label: 'GitHub', icon: 'github' }
      ],
      'git'
    ),
    copyable('rhone deploy'),
    secretOnce('Your new token', 'rhone_k7Qf2M9xExampleOnly')
  ])}</div>
${card({ title: 'Delete this app', isDanger: true }, form(context, { action: '/nowhere' }, html`<p>Its deployments, variables and logs go with it.</p>`))}
${card({ title: 'Confirm', isDanger: true }, confirmForm({ ...context }, { action: '/nowhere', word: id('website'), label: 'Delete the app', field: id('confirm') }))}
<h2>Timeline</h2>
${card(
  {},
  timeline([
    { label: 'Queued', state: 'done', took: '0.4s' },
    { label: 'Built', state: 'done', took: '42s', detail: 'node 24, npm' },
    { label: 'Releasing', state: 'busy', took: '3s' },
    { label: 'Health check', state: 'failed', detail: 'GET / answered 500 three times.' },
    { label: 'Live', state: 'waiting' }
  ])
)}
<h2>Log</h2>
${log({
  label: `Build log, ${theme}`,
  quiet: 'No lines yet.',
  download: '/design',
  base: theme === 'light' ? 0 : 1_000,
  lines: [
    { id: 1, at: '2026-11-29T21:12:45.120Z', text: 'Cloning git.example.com/acme/website' },
    { id: 2, at: '2026-11-29T21:12:46.001Z', text: `${ESCAPE}[32m✓${ESCAPE}[0m 214 packages in 3s` },
    { id: 3, at: '2026-11-29T21:12:49.400Z', level: 'error', text: 'error: there is no script "build" <b>&</b>' }
  ]
})}
<h2>Empty</h2>
${empty({ icon: 'apps', title: 'No apps yet', why: 'An app is a repository, built and served under a URL of its own.', actions: linkButton({ label: 'New app', href: '/apps/new', icon: 'plus', kind: 'primary' }) })}
<h2>Icons</h2><div class="row">${ICONS.map(name => icon(name))}</div>
</section>`
}
