import { type Fragment, type Html, html } from '../../plugins/lib/html.ts'
import type { Page, PageContext, View } from '../context.ts'
import { numberOf, pageHeader, type Tab, tabs } from '../parts.ts'

/** The operators' pages, in the order of their tabs. */
const TABS: readonly Tab[] = [
  { label: 'Overview', href: '/admin', icon: 'dashboard' },
  { label: 'Operations', href: '/admin/operations', icon: 'bolt' },
  { label: 'Errors', href: '/admin/errors', icon: 'stop' },
  { label: 'Jobs', href: '/admin/jobs', icon: 'box' },
  { label: 'Users', href: '/admin/users', icon: 'people' },
  { label: 'Audit', href: '/admin/audit', icon: 'shield' }
]

export interface AdminPage {
  readonly title: string
  /** The open tab. */
  readonly tab: string
  readonly about: Fragment
  readonly actions?: Fragment
  readonly content: (context: PageContext) => Fragment
}

/** A page for operators: one heading, the tabs to the other pages, and its content. */
export function adminPage({ title, tab, about, actions, content }: AdminPage): View {
  return (context): Page => ({
    title: `${title} · Platform`,
    section: 'admin',
    content: html`${pageHeader({ title, about, ...(actions && { actions }) })}
${tabs('Pages for operators', TABS, tab)}
${content(context)}`
  })
}

/** A row of filter fields, sent by GET, so that the URL contains the filters. */
export function filterForm(action: string, fields: Fragment, isFiltered: boolean): Html {
  return html`<form method="get" action="${action}" class="filters" role="search">${fields}
<div class="actions"><button class="button">Show</button>${isFiltered && html`<a class="button quiet" href="${action}">Clear</a>`}</div></form>`
}

/** A link to the same list from the next row on. Undefined values are left out. */
export function pageLink(path: string, query: object, cursor: string | null): string | null {
  if (cursor === null) return null
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries({ ...query, cursor }))
    if (value !== undefined && name !== 'done') parameters.set(name, String(value))
  return `${path}?${parameters}`
}

export function count(value: number): string {
  return numberOf(value, 0)
}

/** A fraction as a percentage, with as many digits as matter; null if unknown. */
export function percent(share: number | null, digits = 1): string | null {
  return share === null ? null : `${(share * 100).toFixed(digits)} %`
}
