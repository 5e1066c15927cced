import { type Html, html } from '../plugins/lib/html.ts'
import type { SoloView } from './context.ts'
import { ago, button, facts, field, form, formProblem, icon, linkButton, notice, type Problem } from './parts.ts'

export interface EnterCodePage {
  /** The code as typed. */
  readonly code?: string | undefined
  readonly problem?: Problem | undefined
}

/** Asks for the code that a program shows. */
export function enterCodePage({ code, problem }: EnterCodePage): SoloView {
  return ({ viewer }) => ({
    title: 'Log in a program',
    content: html`<div class="solo-card"><header><h1>Log in a program</h1><p class="faint">Type the code that <code>rhone login</code> shows.</p></header>
${formProblem(problem)}
<form method="get" action="/login/device" class="form">
${field({ name: 'code', label: 'Code', value: code, error: problem?.fields.code, placeholder: 'WDJB-MJHT', isRequired: true, isCode: true, maxLength: 64, isFirst: true })}
<div class="actions">${button({ label: 'Continue', kind: 'primary', size: 'wide' })}</div>
</form>${signedInAs(viewer)}</div>`
  })
}

export interface ApproveDevicePage {
  readonly code: string
  readonly name: string
  readonly scopes: readonly string[]
  readonly ip: string | null
  readonly createdAt: Date
  /** Days for which the token is valid. */
  readonly days: number
  /** Whether the login began in another network than the viewer's. */
  readonly isElsewhere: boolean
  /** The viewer's own address. */
  readonly address: string
}

const GRANTS: Readonly<Record<string, string>> = {
  read: 'read what you can see',
  deploy: 'deploy, roll back, and read what you can see',
  admin: 'do everything that you can do'
}

/** Shows what access a program would get, and who asks for it, before it gets it. */
export function approveDevicePage(page: ApproveDevicePage): SoloView {
  const { code, name, scopes, ip, createdAt, days, isElsewhere, address } = page
  return context => ({
    title: 'Approve a login',
    content: html`<div class="solo-card"><header><h1>Let this program in?</h1><p class="faint">It would act as you, <strong>${context.viewer?.username}</strong>.</p></header>
<p class="device-code">${code}</p>
<p>Compare: your terminal must show the same code. If you have not just run <code>rhone login</code>, somebody is trying to get in as you: deny it.</p>
${isElsewhere && notice({ tone: 'warn', title: 'It was started in another network than yours', detail: html`You are at <code>${address}</code>. Approve it only if you work on another machine.` })}
${facts(
  [
    ['Name', name],
    ['Begun', html`${ago(createdAt, context.now)}${ip && html` from <code>${ip}</code>`}`],
    [
      'May',
      html`${scopes.map(scope => GRANTS[scope] ?? scope).join('; ')}, in all your teams${context.viewer?.isOperator && scopes.includes('admin') && html`, <strong>and on the whole platform as an operator</strong>`}`
    ],
    ['For', `${days} days, or until you revoke it in your settings`]
  ],
  'list'
)}
${form(
  context,
  { action: '/login/device', isSecret: true },
  html`<input type="hidden" name="code" value="${code}">
<div class="actions">${button({ label: 'Approve', kind: 'primary', name: 'decision', value: 'approve' })}${button({ label: 'Deny', name: 'decision', value: 'deny' })}</div>`
)}</div>`
  })
}

/** The outcome of the decision. */
export function deviceDonePage(decision: 'approved' | 'denied'): SoloView {
  const isIn = decision === 'approved'
  return () => ({
    title: isIn ? 'The program is in' : 'The program stays out',
    content: html`<div class="solo-card"><header>${icon(isIn ? 'ok' : 'stop', 'emblem')}<h1>${isIn ? 'The program is in' : 'The program stays out'}</h1></header>
<p>${isIn ? 'Go back to your terminal: it continues within seconds. You can close this tab.' : 'It was told so, and got no token. If it was not yours, you need to do nothing else.'}</p>
<div class="actions">${isIn ? linkButton({ label: 'Your tokens', href: '/settings#tokens' }) : linkButton({ label: 'Dashboard', href: '/dashboard' })}</div></div>`
  })
}

const signedInAs = (viewer: { username: string } | null): Html | false =>
  viewer !== null && html`<p class="hint">You are signed in as ${viewer.username}.</p>`
