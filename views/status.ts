import { type Html, html } from '../plugins/lib/html.ts'
import { noticePage } from '../plugins/lib/notice-page.ts'
import type { Status } from '../schemas/status.ts'
import type { SoloView } from './context.ts'
import { icon, pageHeader, type Status as Shown, status as shown } from './parts.ts'

const STYLE = `
main { width: min(44rem, 100% - 3rem); padding: 2rem 0 }
h1, h2, h3 { letter-spacing: -0.02em }
h2 { margin: 2rem 0 0.5rem; font-size: 1.125rem }
h3 { margin: 0; font-size: 1rem }
p { margin: 0.25rem 0 }
ul { list-style: none; margin: 0; padding: 0 }
li { padding: 0.75rem 0; border-top: 1px solid #8884 }
.row { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1rem }
.days { display: flex; gap: 2px; height: 1.5rem; margin-top: 0.5rem }
.days span { flex: 1; border-radius: 2px; background: #8884 }
.days .operational { background: #2a9d4a }
.days .maintenance { background: #4b7bd1 }
.days .degraded { background: #d99a1c }
.days .outage { background: #c93a3a }
.message { white-space: pre-line; overflow-wrap: anywhere }
small { opacity: 0.75 }
`

const WORDS: Readonly<Record<Status['status'], string>> = {
  operational: 'works',
  maintenance: 'planned maintenance',
  degraded: 'degraded',
  outage: 'outage',
  unknown: 'not known'
}

const SHOWN: Readonly<Record<Status['status'], Pick<Shown, 'tone' | 'icon'>>> = {
  operational: { tone: 'good', icon: 'ok' },
  maintenance: { tone: 'busy', icon: 'wrench' },
  degraded: { tone: 'warn', icon: 'warn' },
  outage: { tone: 'bad', icon: 'stop' },
  unknown: { tone: 'none', icon: 'never' }
}

/** The state of the service for its users, in the style of the other pages. */
export function statusView(status: Status): SoloView {
  return () => ({
    title: 'Status',
    description: 'The current state of the service, and its history of 30 days.',
    bare: true,
    content: html`<article class="page narrow status-page">${pageHeader({
      title: html`<span class="status ${SHOWN[status.status].tone}">${icon(SHOWN[status.status].icon)}<span>${status.summary}</span></span>`,
      about: status.checkedAt !== null && html`As of ${timeOf(status.checkedAt)}.`
    })}
${sections(status, value => shown({ ...SHOWN[value], word: WORDS[value] }))}</article>`
  })
}

/**
 * The same as one self-contained file: for a server without assets, and for copies served elsewhere.
 * @param nonce allows the page's styles by its CSP; empty for a copy served elsewhere
 * @param notice a sentence at the top of copies made while the server could not be reached
 */
export function statusPage(status: Status, nonce: string, notice?: string): string {
  const { summary, checkedAt } = status
  const content = html`<h1>${notice ?? summary}</h1>
${checkedAt !== null && html`<p><small>As of ${timeOf(checkedAt)}.</small></p>`}
${sections(status, value => html`<span>${WORDS[value]}</span>`)}`
  return noticePage({ title: 'Status - Rhone', content, style: STYLE }, nonce)
}

type InWords = (status: Status['status']) => Html

function sections({ components, maintenance, incidents }: Status, inWords: InWords): Html {
  const open = incidents.filter(({ closedAt }) => closedAt === null)
  const past = incidents.filter(({ closedAt }) => closedAt !== null)
  return html`${maintenance !== null && maintenanceSection(maintenance)}
${open.length > 0 && html`<section aria-labelledby="open"><h2 id="open">Open incidents</h2><ul>${open.map(incidentItem)}</ul></section>`}
<section aria-labelledby="parts"><h2 id="parts">Components, 30 days</h2><ul>${components.map(component => componentItem(component, inWords))}</ul></section>
${past.length > 0 && html`<section aria-labelledby="past"><h2 id="past">Closed incidents</h2><ul>${past.map(incidentItem)}</ul></section>`}`
}

function maintenanceSection({ message, until }: NonNullable<Status['maintenance']>): Html {
  return html`<section aria-labelledby="maintenance"><h2 id="maintenance">Planned maintenance</h2>
<p>Apps keep running. Nothing can be changed or deployed until it ends.</p>
${message !== null && html`<p class="message">${message}</p>`}
${until !== null && html`<p>It ends at ${timeOf(until)}.</p>`}</section>`
}

function componentItem({ title, status, note, uptime, days }: Status['components'][number], inWords: InWords): Html {
  const words = days.map(
    day => `${day.date}: ${WORDS[day.status]}${day.uptime === null ? '' : `, ${percent(day.uptime)}`}`
  )
  return html`<li><div class="row"><h3>${title}</h3><span>${inWords(status)}${uptime !== null && ` · ${percent(uptime)}`}</span></div>
${note !== null && html`<p>${note}</p>`}
<div class="days" role="img" aria-label="${daysInWords(days)}">${days.map((day, index) => html`<span class="${day.status}" title="${words[index]}"></span>`)}</div></li>`
}

function daysInWords(days: Status['components'][number]['days']): string {
  const bad = days.filter(({ status }) => status === 'outage' || status === 'degraded')
  if (bad.length === 0) return `No trouble was observed in ${days.length} days.`
  return bad.map(({ date, status }) => `${date}: ${WORDS[status]}`).join('; ')
}

function incidentItem({ title, severity, openedAt, closedAt, updates }: Status['incidents'][number]): Html {
  const span = closedAt === null ? html`since ${timeOf(openedAt)}` : html`${timeOf(openedAt)} to ${timeOf(closedAt)}`
  return html`<li><h3>${title}</h3><p><small>${severity}, ${span}</small></p>
${updates.map(({ at, message }) => html`<p class="message"><small>${timeOf(at)}</small> ${message}</p>`)}</li>`
}

/** Rounded down: 100 % means no outage at all. */
const percent = (share: number): string => `${(Math.floor(share * 1e4) / 100).toFixed(2)} %`

/** To the minute, in UTC, since readers are in any time zone. */
function timeOf(at: Date | string): Html {
  const iso = new Date(at).toISOString()
  return html`<time datetime="${iso}">${iso.slice(0, 10)} ${iso.slice(11, 16)} UTC</time>`
}
