import { type Html, html } from '../../plugins/lib/html.ts'
import type { PageContext, View } from '../context.ts'
import {
  ago,
  buttonForm,
  card,
  empty,
  field,
  formProblem,
  linkButton,
  type Problem,
  pager,
  type Status,
  select,
  status,
  table,
  tag
} from '../parts.ts'
import { adminPage, count, filterForm, pageLink } from './frame.ts'

export interface Listed<Row, Query extends object> {
  readonly items: readonly Row[]
  readonly nextCursor: string | null
  /** The query of the URL: the filters and the cursor. */
  readonly query: Query & { readonly cursor?: string }
}

const isNarrowed = (query: object) =>
  Object.entries(query).some(([name, value]) => value !== undefined && !['cursor', 'limit', 'done'].includes(name))

function pages<Query extends object>(path: string, { items, nextCursor, query }: Listed<unknown, Query>): Html {
  const { cursor, ...rest } = query
  const first = cursor === undefined ? null : (pageLink(path, rest, '')?.replace(/[?&]cursor=$/, '') ?? null)
  return pager(items.length, pageLink(path, rest, nextCursor), first)
}

export interface ListedError {
  readonly hour: Date | string
  readonly code: string
  readonly route: string
  readonly count: number
  readonly lastRequestId: string | null
  readonly lastAt: Date | string
}

type ErrorQuery = { readonly code?: string; readonly route?: string; readonly since?: string; readonly until?: string }

/** Server errors by hour, code and route. */
export function errorsPage(list: Listed<ListedError, ErrorQuery>): View {
  const { items, query } = list
  return adminPage({
    title: 'Errors',
    tab: '/admin/errors',
    about: 'Replies of 5xx, counted by hour, code and route on all instances. They are kept for 30 days.',
    content: ({ now }) => html`${filterForm(
      '/admin/errors',
      [
        field({
          name: 'code',
          label: 'Code',
          value: query.code,
          isCode: true,
          maxLength: 50,
          placeholder: 'INTERNAL_ERROR'
        }),
        field({
          name: 'route',
          label: 'Route',
          value: query.route,
          isCode: true,
          maxLength: 255,
          placeholder: 'GET /api/v1/apps'
        })
      ],
      isNarrowed(query)
    )}
${
  items.length === 0
    ? isNarrowed(query)
      ? noMatch('stop', 'No error matches')
      : empty({ icon: 'ok', title: 'No errors', why: 'No request has failed by a fault of this server in 30 days.' })
    : html`${card(
        { isFlush: true },
        table(
          'Server errors',
          [
            {
              label: 'Code',
              cell: ({ code, route }) => html`<code>${code}</code><span class="sub mono">${route}</span>`
            },
            { label: 'Times', cell: row => count(row.count), isNumber: true },
            { label: 'Hour', cell: ({ hour }) => ago(hour, now) },
            { label: 'Last', cell: ({ lastAt }) => ago(lastAt, now) },
            {
              label: 'Last request',
              cell: ({ lastRequestId }) =>
                lastRequestId === null
                  ? html`<span class="faint">unknown</span>`
                  : html`<code class="mono">${lastRequestId}</code>`
            }
          ],
          items
        )
      )}${pages('/admin/errors', list)}`
}`
  })
}

const noMatch = (icon: 'stop' | 'box' | 'people' | 'shield', title: string) =>
  empty({ icon, title, why: 'Widen the filters, or clear them.' })

export interface ListedJob {
  readonly id: string
  readonly queue: string
  readonly state: 'waiting' | 'retrying' | 'active' | 'completed' | 'cancelled' | 'dead'
  readonly key: string | null
  readonly attempt: number
  readonly error: string | null
  readonly createdAt: Date | string
  readonly startedAt: Date | string | null
  readonly finishedAt: Date | string | null
}

const JOB_STATES: Readonly<Record<ListedJob['state'], Status>> = {
  waiting: { tone: 'none', icon: 'clock', word: 'Waiting' },
  retrying: { tone: 'warn', icon: 'redo', word: 'Retrying' },
  active: { tone: 'busy', icon: 'spinner', word: 'Running' },
  completed: { tone: 'good', icon: 'ok', word: 'Done' },
  cancelled: { tone: 'none', icon: 'slash', word: 'Cancelled' },
  dead: { tone: 'bad', icon: 'stop', word: 'Dead' }
}

type JobQuery = { readonly queue?: string; readonly state?: string }

/** Background jobs. */
export function jobsPage(list: Listed<ListedJob, JobQuery>): View {
  const { items, query } = list
  return adminPage({
    title: 'Jobs',
    tab: '/admin/jobs',
    about: 'Background work, newest first. Finished jobs are kept for two weeks.',
    actions: linkButton({ label: 'Dead ones', href: '/admin/jobs?state=dead', icon: 'stop' }),
    content: context => html`${filterForm(
      '/admin/jobs',
      [
        field({
          name: 'queue',
          label: 'Queue',
          value: query.queue,
          isCode: true,
          maxLength: 50,
          placeholder: 'deploy'
        }),
        select({
          name: 'state',
          label: 'State',
          value: query.state ?? '',
          choices: [
            { value: '', label: 'Any' },
            ...Object.entries(JOB_STATES).map(([value, { word }]) => ({ value, label: word }))
          ]
        })
      ],
      isNarrowed(query)
    )}
${
  items.length === 0
    ? query.state === 'dead'
      ? empty({ icon: 'ok', title: 'No dead jobs', why: 'Every job has succeeded or has attempts left.' })
      : isNarrowed(query)
        ? noMatch('box', 'No job matches')
        : empty({ icon: 'box', title: 'No jobs yet', why: 'Deployments, webhooks and clean-up appear here.' })
    : html`${card({ isFlush: true }, jobTable(items, context))}${pages('/admin/jobs', list)}`
}`
  })
}

function jobTable(items: readonly ListedJob[], context: PageContext): Html {
  return table(
    'Jobs',
    [
      {
        label: 'Job',
        cell: ({ id, queue, key, error }) =>
          html`<b>${queue}</b>${key !== null && html` <span class="faint">${key}</span>`}<span class="sub mono">${id.split('.').at(-1)}</span>${error !== null && html`<span class="sub">${error}</span>`}`
      },
      {
        label: 'State',
        cell: ({ state, startedAt, finishedAt, createdAt }) =>
          status(JOB_STATES[state], finishedAt ?? startedAt ?? createdAt, context.now)
      },
      { label: 'Attempt', cell: ({ attempt }) => attempt, isNumber: true },
      { label: 'Sent', cell: ({ createdAt }) => ago(createdAt, context.now) },
      {
        label: 'Actions',
        isActions: true,
        cell: ({ id, state }) =>
          state === 'dead' &&
          buttonForm(context, `/admin/jobs/${encodeURIComponent(id)}/again`, {
            label: 'Try again',
            size: 'small',
            icon: 'redo'
          })
      }
    ],
    items
  )
}

export interface ListedUser {
  readonly id: string
  readonly username: string
  readonly email: string | null
  readonly isOperator: boolean
  readonly eraseAfter: Date | string | null
  readonly createdAt: Date | string
}

type UserQuery = { readonly username?: string; readonly email?: string; readonly operator?: boolean }

/** Accounts, and which of them are operators. */
export function usersPage(list: Listed<ListedUser, UserQuery>, problem?: Problem): View {
  const { items, query } = list
  return adminPage({
    title: 'Users',
    tab: '/admin/users',
    about: 'All accounts on this server, newest first.',
    content: context => html`${formProblem(problem)}${filterForm(
      '/admin/users',
      [
        field({ name: 'username', label: 'Name', value: query.username, isCode: true, maxLength: 255 }),
        field({ name: 'email', label: 'Address', value: query.email, isCode: true, maxLength: 255 }),
        select({
          name: 'operator',
          label: 'Role',
          value: query.operator === undefined ? '' : String(query.operator),
          choices: [
            { value: '', label: 'Any' },
            { value: 'true', label: 'Operators' },
            { value: 'false', label: 'Others' }
          ]
        })
      ],
      isNarrowed(query)
    )}
${
  items.length === 0
    ? noMatch('people', 'No user matches')
    : html`${card({ isFlush: true }, userTable(items, context))}${pages('/admin/users', list)}`
}`
  })
}

function userTable(items: readonly ListedUser[], context: PageContext): Html {
  return table(
    'Users',
    [
      {
        label: 'User',
        cell: ({ username, email }) => html`<b>${username}</b><span class="sub">${email ?? 'no address known'}</span>`
      },
      {
        label: 'Role',
        cell: ({ isOperator, eraseAfter }) =>
          html`${isOperator ? tag('operator', 'accent') : tag('user')}${eraseAfter !== null && html` ${tag(html`leaves ${ago(eraseAfter, context.now)}`, 'warn')}`}`
      },
      { label: 'Since', cell: ({ createdAt }) => ago(createdAt, context.now) },
      {
        label: 'Actions',
        isActions: true,
        cell: user => user.id !== context.viewer?.id && roleButton(user, context)
      }
    ],
    items
  )
}

function roleButton({ id, username, isOperator }: ListedUser, context: PageContext): Html {
  return buttonForm(
    context,
    `/admin/users/${id}/role`,
    isOperator
      ? { label: 'Revoke', size: 'small', kind: 'danger', confirm: `Revoke the operator role of ${username}?` }
      : { label: 'Make operator', size: 'small', confirm: `May ${username} see and change everything on this server?` },
    { operator: isOperator ? 'no' : 'yes' }
  )
}

export interface ListedEvent {
  readonly id: string
  readonly type: string
  readonly action: string
  readonly outcome: 'success' | 'failure' | 'denied'
  readonly actor: string | null
  readonly resource: string
  readonly resourceId: string | null
  readonly resourceName: string | null
  readonly details: Readonly<Record<string, unknown>> | null
  readonly ip: string | null
  readonly requestId: string | null
  readonly createdAt: Date | string
}

type AuditQuery = {
  readonly type?: string
  readonly outcome?: string
  readonly actor?: string
  readonly text?: string
}

const OUTCOMES: Readonly<Record<ListedEvent['outcome'], Status>> = {
  success: { tone: 'good', icon: 'ok', word: 'Done' },
  failure: { tone: 'bad', icon: 'stop', word: 'Failed' },
  denied: { tone: 'warn', icon: 'lock', word: 'Denied' }
}

const TYPES = ['auth', 'team', 'app', 'deployment', 'billing', 'admin']

/** The audit log: who did what, when, and from where. */
export function auditPage(list: Listed<ListedEvent, AuditQuery>): View {
  const { items, query } = list
  const { cursor: _cursor, ...filters } = query
  const exported = (format: string) =>
    pageLink('/admin/audit/export', { ...filters, format }, '')!.replace(/&cursor=$/, '')
  return adminPage({
    title: 'Audit log',
    tab: '/admin/audit',
    about: html`Who did what, newest first. Rows are linked by hashes and sealed; <code>rhone audit verify</code> proves that none was changed or removed.`,
    actions: html`<a class="button" href="${exported('csv')}" download data-no-prefetch>CSV</a><a class="button" href="${exported('ndjson')}" download data-no-prefetch>JSON</a>`,
    content: ({ now }) => html`${filterForm(
      '/admin/audit',
      [
        field({ name: 'text', label: 'Words', value: query.text, type: 'search', maxLength: 200 }),
        field({ name: 'actor', label: 'Who', value: query.actor, isCode: true, maxLength: 255 }),
        select({
          name: 'type',
          label: 'About',
          value: query.type ?? '',
          choices: [{ value: '', label: 'Anything' }, ...TYPES.map(type => ({ value: type, label: type }))]
        }),
        select({
          name: 'outcome',
          label: 'Outcome',
          value: query.outcome ?? '',
          choices: [
            { value: '', label: 'Any' },
            ...Object.entries(OUTCOMES).map(([value, { word }]) => ({ value, label: word }))
          ]
        })
      ],
      isNarrowed(query)
    )}
${
  items.length === 0
    ? isNarrowed(query)
      ? noMatch('shield', 'No event matches')
      : empty({ icon: 'shield', title: 'Nothing yet', why: 'Sign-ins and changes appear here as they happen.' })
    : html`${card({ isFlush: true }, eventTable(items, now))}${pages('/admin/audit', list)}`
}`
  })
}

/** Also for the audit log of one team. */
export function eventTable(items: readonly ListedEvent[], now: Date): Html {
  return table(
    'Events',
    [
      {
        label: 'Event',
        cell: ({ resource, action, resourceName, resourceId, details }) =>
          html`<b>${resource}.${action}</b> ${resourceName ?? html`<span class="faint mono">${resourceId}</span>`}${detailsOf(details)}`
      },
      { label: 'Who', cell: ({ actor }) => actor ?? html`<span class="faint">nobody known</span>` },
      { label: 'Outcome', cell: ({ outcome }) => status(OUTCOMES[outcome]) },
      { label: 'When', cell: ({ createdAt }) => ago(createdAt, now) },
      { label: 'From', cell: ({ ip }) => ip !== null && html`<code>${ip}</code>` }
    ],
    items
  )
}

function detailsOf(details: ListedEvent['details']): Html | false {
  const entries = Object.entries(details ?? {}).filter(([, value]) => value !== null)
  if (entries.length === 0) return false
  const words = entries.map(([name, value]) => `${name}: ${typeof value === 'object' ? JSON.stringify(value) : value}`)
  return html`<details class="more"><summary>Details</summary><span class="mono">${words.join('\n')}</span></details>`
}
