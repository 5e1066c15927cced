import { type Html, html } from '../plugins/lib/html.ts'
import { document, type HeadContext } from './document.ts'
import { copyable, linkButton } from './parts/display.ts'
import { icon, MARK } from './parts/icons.ts'
import { exact } from './parts/time.ts'

/* Pages for errors and maintenance. They need no database, since it may be down. */

export interface ErrorFacts {
  readonly statusCode: number
  readonly code: string
  readonly message: string
  readonly detail: string | undefined
  readonly requestId: string
  /** Where to go from here. */
  readonly action: { readonly href: string; readonly label: string }
  /** Seconds until a retry can succeed. */
  readonly retryAfter: number | undefined
  /** The page whose form was refused, if there was one. */
  readonly from: string | undefined
}

/** Advice by status, where the error itself gives none. */
const ADVICE: Readonly<Record<number, string>> = {
  401: 'Sign in, and you come back to where you were.',
  404: 'It does not exist, or it is not visible to you. A link to it may be out of date.',
  409: 'Somebody else was faster. Reload the page to see the current state.',
  412: 'It was changed since you opened the page. Reload it to see the current state.',
  413: 'Send less at a time.',
  429: 'Nothing is lost; wait a moment and try again.',
  501: 'This is not set up on this server. Its operators find the settings in docs/operations.md.',
  503: 'Nothing is lost; try again in a moment.'
}

/** Who can grant what a user lacks, by the words of the refusal. */
const WHO_GRANTS = [
  [/\brole\b/, 'An owner of the team can give you another role.'],
  [/\boperators\b/, 'An operator of this server can make you one.']
] as const

function adviceOn({ statusCode, message, detail = '' }: ErrorFacts): string | undefined {
  if (statusCode === 403) return WHO_GRANTS.find(([lack]) => lack.test(`${message} ${detail}`))?.[1]
  if (ADVICE[statusCode] !== undefined || statusCode < 500) return ADVICE[statusCode]
  return 'The fault is ours, and it has been recorded. What you typed is still in your browser.'
}

/** The page of an error. */
export function errorPage(facts: ErrorFacts, context: HeadContext): string {
  const { statusCode, message, detail, action, retryAfter, from, requestId } = facts
  const advice = adviceOn(facts)
  const isOurs = statusCode >= 500 && statusCode !== 501
  const hasOwnWay = action.href !== '/' || from === undefined
  return frame(
    `${statusCode} ${message}`,
    context,
    html`<div class="solo-card wide"><header><p class="faint">${statusCode}</p><h1>${sentence(message)}</h1></header>
${detail && html`<p>${sentence(detail)}.</p>`}${advice && html`<p class="faint">${advice}</p>`}
${retryAfter !== undefined && html`<p>${icon('clock')} <span>Try again in <span data-countdown="${retryAfter}">${inWords(retryAfter)}</span>.</span></p>`}
<div class="actions">${hasOwnWay && linkButton({ ...action, kind: 'primary' })}${from !== undefined && linkButton({ label: 'Back to the page', href: from, icon: 'back', ...(!hasOwnWay && { kind: 'primary' as const }) })}${!hasOwnWay && linkButton(action)}</div>
<div class="stack tight"><p class="hint">${isOurs ? 'If it stays like this, tell the operators of this server this request id:' : 'Request'}</p>${copyable(requestId)}</div></div>`
  )
}

function inWords(seconds: number): string {
  if (seconds <= 120) return seconds === 1 ? 'a second' : `${seconds} seconds`
  return seconds <= 7_200 ? `${Math.ceil(seconds / 60)} minutes` : `${Math.ceil(seconds / 3_600)} hours`
}

/** Starts with a capital and drops the final full stop. */
const sentence = (text: string) =>
  text === 'Route not found' ? 'Page not found' : text.charAt(0).toUpperCase() + text.slice(1).replace(/\.$/, '')

export interface Closure {
  /** The operator's message. */
  readonly message: string | null
  /** The planned end. */
  readonly until: string | null
}

/** The page of a platform that is closed for maintenance. */
export function closedPage({ message, until }: Closure, context: HeadContext): string {
  return frame(
    'Rhone - Maintenance',
    context,
    html`<div class="solo-card wide"><header>${icon('wrench', 'emblem')}<h1>Under Maintenance</h1></header>
<p>Rhone is down for scheduled maintenance and will be back shortly.</p>
${message !== null && html`<blockquote class="quote">${message}</blockquote>`}
${until !== null && html`<p>It reopens at <time datetime="${until}" data-exact>${exact(until)}</time>.</p>`}
<p>Your apps are still running and serving traffic.</p></div>`
  )
}

function frame(title: string, context: HeadContext, content: Html): string {
  return document(
    { title },
    context,
    html`<div class="solo"><header class="solo-top"><a class="brand" href="/">${MARK}Rhone</a></header>
<main id="main" class="solo-main">${content}</main></div>`
  ).toString()
}
