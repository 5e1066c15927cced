import { html } from '../../plugins/lib/html.ts'
import type { AppLogLine } from '../../src/domain/apps/logs.ts'
import type { View } from '../context.ts'
import { button, icon, log } from '../parts.ts'
import { type AppFrame, appHeader } from './frame.ts'

export interface LogPage extends AppFrame {
  /** Oldest first. */
  readonly lines: readonly AppLogLine[]
  readonly level: string | undefined
  readonly search: string | undefined
  readonly since: string | undefined
  readonly next: string | null
  /** Whether filters omit lines; a filtered log is not followed. */
  readonly isFiltered: boolean
}

/** Lines shown after a linked one. */
const AFTER = 50
const LEVELS = ['debug', 'info', 'warn', 'error'] as const
const SINCE = { '': 'All kept lines', '15m': 'Last 15 minutes', '1h': 'Last hour', '24h': 'Last day' } as const

/** The log of an app. Filters are in the URL. */
export function logPage(page: LogPage): View {
  const { app, lines, level, search, since, next, isFiltered } = page
  const base = `/apps/${app.slug}/logs`
  const isNarrowed = Boolean(search || level || since)
  return context => ({
    title: `Logs of ${app.name}`,
    section: 'apps',
    content: html`${appHeader(page, context, '/logs', null)}
<form class="row" method="get" action="${base}" role="search">
<div class="search">${icon('search')}<input class="input" type="search" name="search" value="${search}" maxlength="200" aria-label="Search all kept lines" placeholder="Search all kept lines" autocomplete="off" spellcheck="false" data-slash></div>
<select class="input auto" name="level" aria-label="Level" data-submit-on-change><option value="">All levels</option>${LEVELS.map(value => html`<option value="${value}"${value === level && html` selected`}>${value}</option>`)}</select>
<select class="input auto" name="since" aria-label="Since" data-submit-on-change>${Object.entries(SINCE).map(([value, label]) => html`<option value="${value}"${value === (since ?? '') && html` selected`}>${label}</option>`)}</select>
${button({ label: 'Apply' })}${isFiltered && html`<a class="button quiet" href="${base}">Show all</a>`}</form>
${log({
  label: isFiltered ? 'Lines that match' : 'Log',
  lines: lines.map(({ id, at, level: of, source, message }) => ({
    id,
    at: new Date(at).toISOString(),
    level: source === 'system' && of === 'info' ? 'system' : of,
    text: message
  })),
  quiet: isFiltered ? 'No line matches.' : 'No output yet.',
  context: base,
  // Links to the line among its neighbours.
  ...(isNarrowed && { linkOf: (id: number) => `${base}?cursor=${id + AFTER + 1}#L${id}` }),
  ...(!isFiltered && { stream: `/api/v1/apps/${app.slug}/logs/live?after=${lines.at(-1)?.id ?? 0}&colours=yes` })
})}
${next !== null && html`<nav class="pager" aria-label="Pages"><span>${lines.length} lines</span><a class="button small" href="${base}?${new URLSearchParams({ ...(search && { search }), ...(level && { level }), ...(since && { since }), cursor: next }).toString()}">Older lines</a></nav>`}`
  })
}
