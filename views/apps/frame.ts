import { type Fragment, type Html, html } from '../../plugins/lib/html.ts'
import type { App } from '../../src/domain/teams/access.ts'
import type { PageContext } from '../context.ts'
import { pageHeader, tabs } from '../parts.ts'

export interface AppFrame {
  readonly app: App
  /** Null if unknown. */
  readonly url: string | null
}

const PLACES = [
  ['Overview', ''],
  ['Deployments', '/deployments'],
  ['Logs', '/logs'],
  ['Settings', '/settings']
] as const

/** The header of every page of an app: its URL, its state, and links to its other pages. */
export function appHeader(
  { app }: AppFrame,
  { team }: PageContext,
  place: (typeof PLACES)[number][1],
  beside: Fragment,
  actions: Fragment = null
): Html {
  const base = `/apps/${app.slug}`
  return html`${pageHeader({
    title: app.name,
    crumbs: [{ label: 'Apps', href: team === undefined ? '/apps' : `/apps?team=${team.slug}` }],
    beside,
    actions
  })}
${tabs(
  `Pages of ${app.name}`,
  PLACES.map(([label, path]) => ({ label, href: base + path })),
  base + place
)}`
}
