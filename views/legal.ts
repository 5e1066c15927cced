import { type Html, html } from '../plugins/lib/html.ts'
import type { SoloView } from './context.ts'
import { pageHeader } from './parts.ts'

/* The terms for every account, in words. The numbers come from the code that enforces them. */

/** The date of the last change to the text below. */
const DATED = '2026-11-29'

const dated = html`Last changed <time datetime="${DATED}">${DATED}</time>.`
const paper = (content: Html) => html`<article class="page narrow prose">${content}</article>`

/** The terms of use. */
export function termsPage(): SoloView {
  return () => ({
    title: 'Terms',
    description: 'The terms under which this server may be used.',
    bare: true,
    content: paper(html`${pageHeader({ title: 'Terms of use', about: dated })}
<h2>Who this is between</h2><p>You, and the operators of this server. Rhone is software that they run; its authors are no party to this.</p>
<h2>Your account</h2><p>You keep your password and tokens to yourself. What is done with them counts as done by you. If one gets out, revoke it in your <a href="/settings">settings</a> and tell the operators.</p>
<h2>Your apps</h2><p>Your code and your data stay yours. You allow the operators to build, store and run them, and nothing more. You answer for what your apps do and for the rights in what they contain.</p>
<h2>What is not allowed</h2><p>Anything against the law; attacks on others or on this server; unsolicited mass mail; mining of currencies; getting around the limits of a plan. The operators may stop an app that does so at once, and say why.</p>
<h2>Service</h2><p>How the service is and has been stands on the <a href="/status">status page</a>. It is provided as it is. Planned maintenance is announced there; apps go on running during it.</p>
<h2>Plans</h2><p>A plan sets the limits of a team. Where payment is set up here, prices are shown before anything is ordered.</p>
<h2>The end</h2><p>You may delete your account at any time in your settings. What becomes of your data then is said under <a href="/privacy">privacy</a>.</p>
<h2>Changes</h2><p>The date above changes with the text.</p>`)
  })
}

/** Days for which data is kept. */
export interface Retention {
  readonly grace: number
  readonly appLogs: number
  readonly audit: number
  readonly buildLogs: number
  readonly errors: number
  readonly failures: number
  readonly invitations: number
  readonly tokens: number
  readonly usage: number
  readonly webhookDeliveries: number
}

/** What personal data is stored, and for how long. */
export function privacyPage(days: Retention): SoloView {
  const kept = [
    [
      'Your name, e-mail address and picture',
      'Signing in; what others in your teams see',
      'until your account is erased'
    ],
    [
      'Sessions: address and browser',
      'To let you recognise them',
      'until you sign out, 7 days without use, or 30 days'
    ],
    ['Password, as an Argon2id hash', 'Signing in', 'until it is changed, or your account is erased'],
    ['API tokens: name, last use and its address', 'To let you notice misuse', `${days.tokens} days after their end`],
    ['Failed sign-ins', 'Preventing guessing', count(days.failures)],
    [
      'Audit log: who did what, from where',
      'Security, and disputes in teams',
      `${days.audit} days; without your name and address once your account is erased`
    ],
    ['Invitations: the address', 'To identify the recipient', `${days.invitations} days after they are over`],
    [
      'Build logs and commits',
      'What was built, and by whom',
      `${days.buildLogs} days for logs; commits until the app is deleted`
    ],
    ['Lines that apps log', 'Finding faults', `${days.appLogs} days, and the newest lines only`],
    ['Events from GitHub', 'Deploying what was pushed', `${days.webhookDeliveries} days`],
    ['Billed usage of teams', 'Tax law', `${Math.round(days.usage / 365)} years`],
    ['Server errors, without personal data', 'Finding faults', `${days.errors} days`]
  ]
  return () => ({
    title: 'Privacy',
    description: 'What this server holds about people, why, and for how long.',
    bare: true,
    content: paper(html`${pageHeader({ title: 'Privacy', about: dated })}
<p>The operators of this server hold what is listed here, for these reasons and this long. There is no advertising, no tracking, and no file from another site on any page.</p>
<h2>What is held</h2>
<div class="table"><table><caption class="visually-hidden">What is held, why and for how long</caption><thead><tr><th scope="col">What</th><th scope="col">Why</th><th scope="col">How long</th></tr></thead><tbody>${kept.map(([what, why, long]) => html`<tr><td>${what}</td><td data-label="Why">${why}</td><td data-label="How long">${long}</td></tr>`)}</tbody></table></div>
<h2>Your rights</h2><p>In your <a href="/settings">settings</a> you see what is held about you, export all of it as one file, and delete your account. For ${days.grace} days a code brings a deleted account back. Then it is erased.</p>
<h2>Backups</h2><p>Backups hold the data of their time. An erasure is complete when the last backup from before it has expired.</p>
<h2>Who else gets data</h2><p>GitHub, if you sign in by it or deploy from it; the service that errors are reported to, if the operators use one: it gets ids of users, and no names; the payment service, where payment is set up; the place where apps run.</p>
<h2>Cookies</h2><p>One keeps you signed in, one protects forms, and one remembers the theme that you chose. There are no others.</p>`)
  })
}

const count = (days: number) => (days === 1 ? 'a day' : `${days} days`)
