import { html } from '../../plugins/lib/html.ts'
import type { PageContext, View } from '../context.ts'
import { ago, button, card, empty, facts, field, form, linkButton, pageHeader, tag } from '../parts.ts'

export interface OpenInvitation {
  readonly team: string
  /** Null if their account no longer exists. */
  readonly inviter: string | null
  readonly role: string
  readonly email: string
  readonly expiresAt: Date
}

const MAY = {
  member: 'You can see the team and its apps, and deploy them.',
  admin: 'You can create, change and delete apps, see the audit log, and invite people.'
}

/** An invitation, for the invited person. @param token submitted with the answer */
export function invitationPage({ team, inviter, role, email, expiresAt }: OpenInvitation, token: string): View {
  return context => ({
    title: `Invitation to ${team}`,
    section: 'none',
    narrow: true,
    content: html`${pageHeader({ title: `Join ${team}?`, about: `${inviter ?? 'Somebody who has left'} has invited you.` })}
${card(
  {},
  html`${facts(
    [
      ['Team', team],
      ['Invited by', inviter ?? html`<span class="faint">an account that is gone</span>`],
      ['Your role', html`${tag(role)} <span class="hint">${role === 'admin' ? MAY.admin : MAY.member}</span>`],
      ['Sent to', html`${email}, your verified address`],
      ['Ends', ago(expiresAt, context.now)]
    ],
    'list'
  )}
${answers(context, token)}`
)}`
  })
}

const answers = (context: PageContext, token: string) =>
  form(context, { action: '/invitations/accept', isSecret: true }, [
    html`<input type="hidden" name="token" value="${token}">`,
    html`<div class="actions">${button({ label: 'Join the team', kind: 'primary', name: 'answer', value: 'accept' })}${button({ label: 'Decline', kind: 'quiet', name: 'answer', value: 'decline', confirm: 'Decline this invitation? Its link stops working.' })}</div>`
  ])

/** Why an invitation cannot be accepted, and what to do now. */
export function noInvitationPage(reason: string): View {
  return context => ({
    title: 'This invitation does not work',
    section: 'none',
    narrow: true,
    content: html`${pageHeader({ title: 'This invitation does not work for you' })}
${card(
  {},
  empty({
    icon: 'slash',
    title: reason,
    why: html`You are signed in as <strong>${context.viewer?.username}</strong>. An invitation works once, within seven days, for an account whose verified e-mail address it was made for. An admin of the team can make a new one.`,
    actions: linkButton({ label: 'To your dashboard', href: '/dashboard' })
  })
)}`
  })
}

/** A form to enter a token, for users without a link. */
export function invitationTokenPage(error?: string, token?: string): View {
  return context => ({
    title: 'Open an invitation',
    section: 'none',
    narrow: true,
    content: html`${pageHeader({ title: 'Open an invitation', about: 'Open the link that you were given, or paste its token here.' })}
${form(context, { action: '/invitations/accept', isSecret: true }, [
  card(
    {},
    field({
      name: 'token',
      label: 'Token',
      value: token,
      isRequired: true,
      isCode: true,
      isFirst: true,
      maxLength: 64,
      error,
      hint: 'The 64 letters and digits after "token=" in the link.'
    })
  ),
  html`<div class="actions">${button({ label: 'Open the invitation', kind: 'primary' })}</div>`
])}`
  })
}
