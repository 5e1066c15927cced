import { html } from '../plugins/lib/html.ts'
import type { View } from './context.ts'
import { card, empty, facts, linkButton, meter, moment, notice, pageHeader, tag } from './parts.ts'

export interface Billing {
  readonly team: { readonly name: string; readonly slug: string; readonly plan: string }
  readonly usage: { readonly members: number; readonly invited: number; readonly apps: number }
  /** Infinity: no limit. */
  readonly memberLimit: number
}

/** The plan of a team, and how much of it is used. @param billing null: the viewer is in no team */
export function billingPage(billing: Billing | null): View {
  return context => ({
    title: billing === null ? 'Billing' : `Billing of ${billing.team.name}`,
    section: 'billing',
    content: billing === null ? noTeam() : overview(billing, context.now)
  })
}

function noTeam() {
  return html`${pageHeader({ title: 'Billing' })}${empty({ icon: 'card', title: 'You are not in a team', why: 'Plans belong to teams. Once you are in one, its plan and usage appear here.' })}`
}

function overview({ team, usage, memberLimit }: Billing, now: Date) {
  const taken = usage.members + usage.invited
  const limit = Number.isFinite(memberLimit) ? memberLimit : null
  return html`${pageHeader({ title: 'Billing', beside: tag(team.plan, 'accent'), about: team.name })}
${limit !== null && taken >= limit && notice({ tone: 'warn', title: 'Nobody else can be invited on this plan', detail: `The plan ${team.plan} has room for ${limit === 1 ? 'one member' : `${limit} members`}.` })}
${card(
  { title: 'Plan' },
  facts([
    ['Plan', team.plan],
    ['Period', html`${moment(monthStart(now, 0))} to ${moment(monthStart(now, 1))}`],
    ['Price', html`<span class="faint">none is set up here</span>`]
  ])
)}
${card(
  { title: 'Usage' },
  html`<div class="stack">${meter({ label: 'Members', used: taken, limit })}${usage.invited > 0 && html`<p class="hint">${usage.invited === 1 ? 'One open invitation counts' : `${usage.invited} open invitations count`}, too.</p>`}${meter({ label: 'Apps', used: usage.apps, limit: null })}${meter({ label: 'Machine hours', used: null, limit: null })}${meter({ label: 'Build minutes', used: null, limit: null })}</div><p class="hint">Unknown, not zero: this server does not measure these per team.</p>`
)}
${card(
  { title: 'Payment' },
  html`<p><strong>Payment is not set up here.</strong> Nothing is charged. An operator changes the plan of a team.</p>${linkButton({ label: 'Terms of use', href: '/terms' })}`
)}`
}

const monthStart = (now: Date, after: number) => new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + after, 1))
