import { type Fragment, type Html, href, html } from '../../plugins/lib/html.ts'
import type { PageContext } from '../context.ts'
import { type IconName, icon } from './icons.ts'
import { numberOf } from './numbers.ts'
import { ago, type Instant } from './time.ts'

/* The display parts of pages. Every part looks right in both themes and at 320 px; `/design` shows all of them. */

export interface Action {
  readonly label: string
  readonly href: string
  readonly icon?: IconName
  readonly kind?: 'primary' | 'danger' | 'quiet'
}

/** A link that looks like a button, for navigation. Changes use a form: see `button`. */
export function linkButton({ label, href: url, icon: name, kind }: Action, size = ''): Html {
  return html`<a class="${['button', kind, size].filter(Boolean).join(' ')}" href="${href(url)}">${name && icon(name)}${label}</a>`
}

export interface PageHeader {
  readonly title: Fragment
  /** The path up the hierarchy, outermost first, without the page itself. */
  readonly crumbs?: readonly { readonly label: string; readonly href: string }[]
  /** Shown beside the title, such as a status. */
  readonly beside?: Fragment
  /** A sentence below it. */
  readonly about?: Fragment
  /** At most one of them is `primary`. */
  readonly actions?: Fragment
}

export function pageHeader({ title, crumbs = [], beside, about, actions }: PageHeader): Html {
  return html`<header class="page-header"><div>
${crumbs.length > 0 && html`<nav aria-label="Where this is"><ol class="crumbs">${crumbs.map(({ label, href: url }) => html`<li><a href="${href(url)}">${label}</a></li>`)}</ol></nav>`}
<div class="title"><h1>${title}</h1>${beside}</div>
${about && html`<p class="about">${about}</p>`}
</div>${actions && html`<div class="actions">${actions}</div>`}</header>`
}

export type Tone = 'good' | 'bad' | 'warn' | 'busy' | 'none'

export interface Status {
  readonly tone: Tone
  readonly icon: IconName
  readonly word: string
}

/** A state, never shown by colour alone: an icon with its own shape, a word, and its age. */
export function status({ tone, icon: name, word }: Status, since?: Instant | null, now = new Date()): Html {
  return html`<span class="status ${tone}">${icon(name, name === 'spinner' ? 'spin' : '')}<span>${word}</span>${since && ago(since, now)}</span>`
}

/** A short label, such as a region or a role. */
export function tag(label: Fragment, tone: '' | 'accent' | 'warn' = ''): Html {
  return html`<span class="${`tag ${tone}`.trim()}">${label}</span>`
}

export interface Column<Row> {
  readonly label: string
  readonly cell: (row: Row) => Fragment
  /** Numbers are right-aligned. */
  readonly isNumber?: boolean
  /** The last column, with actions: it has no visible heading. */
  readonly isActions?: boolean
}

/** Rows in columns, which become cards on narrow screens. The first cell names its row. */
export function table<Row>(caption: string, columns: readonly Column<Row>[], rows: readonly Row[]): Html {
  const heading = ({ label, isNumber, isActions }: Column<Row>) =>
    isActions
      ? html`<th scope="col"><span class="visually-hidden">${label}</span></th>`
      : html`<th scope="col"${isNumber && html` class="number"`}>${label}</th>`
  const cell = (row: Row) => (column: Column<Row>, at: number) => {
    const content = column.cell(row)
    const classes = column.isActions ? 'end' : column.isNumber ? 'number' : ''
    const isEmpty = content === null || content === undefined || content === false || content === ''
    return html`<td class="${isEmpty ? `${classes} blank`.trim() : classes}"${at > 0 && !column.isActions && html` data-label="${column.label}"`}>${content}</td>`
  }
  return html`<div class="table"><table><caption class="visually-hidden">${caption}</caption>
<thead><tr>${columns.map(heading)}</tr></thead>
<tbody>${rows.map(row => html`<tr>${columns.map(cell(row))}</tr>`)}</tbody></table></div>`
}

export type Fact = readonly [label: string, value: Fragment] | null | undefined | false

/** Names and values. @param layout `list`: one below the other, for a narrow place */
export function facts(items: readonly Fact[], layout: '' | 'list' = ''): Html {
  return html`<dl class="${`facts ${layout}`.trim()}">${items.map(item => item && html`<div><dt>${item[0]}</dt><dd>${item[1]}</dd></div>`)}</dl>`
}

/** One large number. An unknown one is `null`, and is never shown as zero. */
export function figure(label: string, value: string | number | null, unit = ''): Html {
  const shown =
    value === null
      ? html`<span class="faint">unknown</span>`
      : html`<span class="value">${value}</span>${unit && html` <span class="unit">${unit}</span>`}`
  return html`<div class="figure"><span class="hint">${label}</span><span>${shown}</span></div>`
}

export interface Card {
  readonly title?: Fragment
  /** Shown beside the title. */
  readonly actions?: Fragment
  readonly footer?: Fragment
  readonly id?: string
  readonly isDanger?: boolean
  /** The content reaches the edges, as a table does. */
  readonly isFlush?: boolean
}

export function card({ title, actions, footer, id, isDanger, isFlush }: Card, content: Fragment): Html {
  return html`<section class="${isDanger ? 'card danger' : 'card'}"${id && html` id="${id}"`}>
${(title || actions) && html`<header>${title && html`<h2>${title}</h2>`}${actions}</header>`}
${isFlush ? content : html`<div class="body">${content}</div>`}
${footer && html`<footer>${footer}</footer>`}</section>`
}

const NOTICE_ICONS = { info: 'info', good: 'ok', warn: 'warn', bad: 'stop' } as const

export interface Notice {
  readonly tone: keyof typeof NOTICE_ICONS
  readonly title: Fragment
  readonly detail?: Fragment
  readonly actions?: Fragment
}

/** Important information. A failure is announced by screen readers at once. */
export function notice({ tone, title, detail, actions }: Notice): Html {
  return html`<div class="notice ${tone}" role="${tone === 'bad' ? 'alert' : 'status'}">${icon(NOTICE_ICONS[tone])}<div class="words"><strong>${title}</strong>${detail && html`<div>${detail}</div>`}</div>${actions && html`<div class="actions">${actions}</div>`}</div>`
}

export interface Empty {
  readonly icon: IconName
  readonly title: string
  /** Why the list is empty. */
  readonly why: Fragment
  /** What to do about it. */
  readonly actions?: Fragment
}

export function empty({ icon: name, title, why, actions }: Empty): Html {
  return html`<div class="empty">${icon(name)}<h2>${title}</h2><p>${why}</p>${actions && html`<div class="actions">${actions}</div>`}</div>`
}

/** A copy button, for users with scripts; the text beside it can be selected anyway. */
export function copyButton(text: string, label = 'Copy'): Html {
  return html`<button type="button" class="button small needs-script" data-copy="${text}">${icon('copy')}<span>${label}</span></button>`
}

/** One line to copy: a command, an address, an id. */
export function copyable(text: string): Html {
  return html`<div class="copyable"><code tabindex="0">${text}</code>${copyButton(text)}</div>`
}

/** A secret, shown only once. */
export function secretOnce(label: string, value: string): Html {
  return html`<div class="secret" role="status"><b>${icon('key')}${label}</b>${copyable(value)}<p>Copy it now: it is shown this once and cannot be read again.</p></div>`
}

/** The initial of a name, instead of a picture from another server. */
export function initial(name: string, shape: '' | 'round' = ''): Html {
  return html`<span class="${`initial ${shape}`.trim()}" aria-hidden="true">${[...name.trim()][0] ?? '?'}</span>`
}

export interface Tab {
  readonly label: string
  readonly href: string
  readonly icon?: IconName
}

/** Related pages as links. @param current the `href` of the open one */
export function tabs(label: string, items: readonly Tab[], current: string): Html {
  return html`<nav class="tabs" aria-label="${label}">${items.map(item => html`<a href="${href(item.href)}"${item.href === current && html` aria-current="page"`}>${item.icon && icon(item.icon)}${item.label}</a>`)}</nav>`
}

export interface Meter {
  readonly label: string
  /** Null: unknown, which is not zero. */
  readonly used: number | null
  /** Null: no limit. */
  readonly limit: number | null
  readonly unit?: string
}

/** How much of a limit is used, in words; the bar repeats them, in amber from 80 % and red from 100 %. */
export function meter({ label, used, limit, unit = '' }: Meter): Html {
  const suffix = unit && ` ${unit}`
  const share = used === null || limit === null || limit <= 0 ? null : used / limit
  const tone = share === null || share < 0.8 ? '' : share < 1 ? ' warn' : ' bad'
  const words =
    used === null
      ? 'unknown'
      : limit === null
        ? `${numberOf(used)}${suffix}, without a limit`
        : `${numberOf(used)} of ${numberOf(limit)}${suffix}`
  const percent = share === null ? '' : ` · ${Math.round(share * 100)} %`
  return html`<div class="meter${tone}"><div><span>${label}</span><span class="value">${words}${percent}</span></div>${
    share !== null &&
    html`<svg viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true"><rect width="${Math.min(100, Math.max(share * 100, share > 0 ? 1.5 : 0)).toFixed(1)}" height="6" rx="1"/></svg>`
  }</div>`
}

/**
 * A line chart of the last values, newest last, with gaps where a value is unknown.
 * @param label a description for users who cannot see it
 */
export function sparkline(label: string, values: readonly (number | null)[]): Html {
  const known = values.filter(value => value !== null)
  if (known.length === 0) return html`<p class="faint">No values yet.</p>`
  const top = Math.max(...known, Number.MIN_VALUE)
  const step = values.length > 1 ? 100 / (values.length - 1) : 100
  let path = ''
  let isPenUp = true
  values.forEach((value, at) => {
    if (value === null) isPenUp = true
    else {
      path += `${isPenUp ? 'M' : 'L'}${(at * step).toFixed(1)} ${(28 - (value / top) * 26).toFixed(1)}`
      isPenUp = false
    }
  })
  const words = `${label}: now ${numberOf(known.at(-1)!)}, at most ${numberOf(top)}`
  return html`<svg class="sparkline" viewBox="0 0 100 30" preserveAspectRatio="none" role="img" aria-label="${words}"><path d="${path}"/></svg>`
}

/** Links to newer and older pages of a list. Lists have no page numbers, because they grow at the front. */
export function pager(shown: number, next: string | null, first: string | null): Html {
  return html`<nav class="pager" aria-label="Pages"><span>${shown === 1 ? '1 shown' : `${shown} shown`}</span><span class="actions">${first !== null && html`<a class="button small" href="${first}">Newest</a>`}${next !== null && html`<a class="button small" href="${next}" rel="next">Older</a>`}</span></nav>`
}

export interface Step {
  readonly label: string
  readonly state: 'done' | 'busy' | 'failed' | 'waiting' | 'skipped'
  /** Duration so far, or in total. */
  readonly took?: string | null
  readonly detail?: Fragment
}

const STEPS = {
  done: { tone: 'good', icon: 'ok', word: 'done' },
  busy: { tone: 'busy', icon: 'spinner', word: 'under way' },
  failed: { tone: 'bad', icon: 'stop', word: 'failed' },
  waiting: { tone: 'none', icon: 'never', word: 'to come' },
  skipped: { tone: 'none', icon: 'slash', word: 'left out' }
} as const

/** Consecutive steps and their progress. */
export function timeline(steps: readonly Step[]): Html {
  return html`<ol class="timeline">${steps.map(({ label, state, took, detail }) => {
    const { tone, icon: name, word } = STEPS[state]
    return html`<li class="${tone}">${icon(name, state === 'busy' ? 'spin' : '')}<b>${label}<span class="visually-hidden">, ${word}</span></b>${took ? html`<span class="took">${took}</span>` : html`<span></span>`}${detail && html`<span class="hint">${detail}</span>`}</li>`
  })}</ol>`
}

/**
 * A part of a page that is redrawn when one of its topics changes. What depends on more than topics has an element with
 * `data-poll`, and is redrawn every few seconds.
 * @param topics as in the event stream: `app:ID`, `deployment:ID`, `team:ID`
 */
export function live(id: string, topics: readonly string[], content: Fragment, classes = 'stack'): Html {
  return html`<div class="${classes}" id="${id}" data-live="${topics.join(' ')}">${content}</div>`
}

/** The age of a page's figures. */
export function asOf(at: Instant, { now }: PageContext): Html {
  return html`<p class="hint">As of ${ago(at, now)}.</p>`
}
