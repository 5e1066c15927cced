import { type Html, html } from '../plugins/lib/html.ts'
import type { SoloView } from './context.ts'
import { copyButton, type IconName, icon, linkButton, notice } from './parts.ts'

export interface Home {
  /** Whether any way to sign in is configured. */
  readonly canSignIn: boolean
}

const COMMANDS = ['rhone login', 'rhone deploy --create', 'rhone open'] as const

const FEATURES: readonly (readonly [IconName, string, string])[] = [
  [
    'rocket',
    'Push, and it runs',
    'A push to the branch builds, checks and switches over. The old version serves until the new one is healthy.'
  ],
  [
    'rollback',
    'Back in seconds',
    'Every release stays at hand. A rollback restarts the image that ran before, with the settings it had.'
  ],
  [
    'logs',
    'Logs as they happen',
    'Builds and running apps side by side, with search, levels and a link to every line.'
  ],
  [
    'lock',
    'Secrets stay secret',
    'Variables are sealed with keys of yours, bound to their app, and never shown again.'
  ],
  [
    'people',
    'Teams with roles',
    'Owners, admins and members, invitations by link, and a log of who did what that cannot be rewritten.'
  ],
  [
    'shield',
    'Hardened from day one',
    'Limits, load shedding, audit, backups and maintenance are plugins, each of which you can swap.'
  ]
]

const PLANS: readonly { name: string; price: string; about: string; has: readonly string[]; not: readonly string[] }[] =
  [
    {
      name: 'Free',
      price: '$0',
      about: 'To try it, alone.',
      has: ['100 machine hours', '50 builds', '10 GB of traffic'],
      not: ['Custom domains', 'Several regions']
    },
    {
      name: 'Starter',
      price: '$20',
      about: 'For a small team with customers.',
      has: ['500 machine hours', '200 builds', '100 GB of traffic', 'Custom domains'],
      not: ['Several regions']
    },
    {
      name: 'Pro',
      price: '$100',
      about: 'For a product that must not stop.',
      has: ['2,000 machine hours', 'Builds without a limit', '500 GB of traffic', 'Custom domains', 'Several regions'],
      not: []
    }
  ]

/** The start page for visitors. */
export function homePage({ canSignIn }: Home): SoloView {
  return () => ({
    title: 'Rhone',
    description: 'Push to deploy on servers that you run yourself: builds, releases, logs, secrets and teams.',
    bare: true,
    content: html`<div class="landing">
<section class="hero"><div>
<h1>Push to deploy, on servers that are yours</h1>
<p class="lead">Rhone turns a repository into a running app: it builds, releases, watches and logs it, and keeps its secrets. One process and a PostgreSQL are the whole platform.</p>
<div class="actions">${canSignIn && linkButton({ label: 'Sign in', href: '/login', kind: 'primary' }, 'large')}${linkButton({ label: 'Read the API', href: '/docs', icon: 'docs' }, 'large')}</div>
${!canSignIn && noSignInNotice()}
</div>${terminal()}</section>
<section class="stack" aria-labelledby="how"><h2 id="how">From a push to a URL</h2>${flow()}</section>
<section class="stack" aria-labelledby="what"><h2 id="what">What you get</h2><div class="features">${FEATURES.map(([name, title, text]) => html`<div>${icon(name)}<h3>${title}</h3><p>${text}</p></div>`)}</div></section>
<section class="stack" aria-labelledby="plans"><h2 id="plans">Plans</h2><p class="faint">Operators choose the plan of new teams; without billing set up, every team has Pro for nothing. Prices are per month.</p>
<div class="plans">${PLANS.map(({ name, price, about, has, not }) => html`<section class="card"><div class="body"><h3>${name}</h3><p class="price">${price} <small>a month</small></p><p class="faint">${about}</p><ul class="list">${has.map(item => html`<li>${icon('check')}${item}</li>`)}${not.map(item => html`<li class="no">${icon('minus')}<span>${item}<span class="visually-hidden">: not included</span></span></li>`)}</ul></div></section>`)}</div></section>
</div>`
  })
}

/** Shown if nobody can sign in: who can change that, and how. */
export function noSignInNotice(): Html {
  return notice({
    tone: 'warn',
    title: 'No way to sign in is set up on this server yet',
    detail: html`Its operator sets <code>GITHUB_CLIENT_ID</code> and <code>GITHUB_CLIENT_SECRET</code>, or <code>LOCAL_ACCOUNTS=true</code> for passwords, and starts it again. In development, each start prints a link that signs the operator in, once.`
  })
}

function terminal(): Html {
  const line = (command: string) => html`<span class="prompt">$ </span>${command}
`
  return html`<div class="terminal"><header>${icon('terminal')}Three commands${copyButton(COMMANDS.join('\n'))}</header><pre tabindex="0" aria-label="Three commands">${line(COMMANDS[0])}<span class="out">Signed in as ada.</span>
${line(COMMANDS[1])}<span class="out">Building    3.1s
Releasing   1.4s
Live at </span><span class="url">https://hello.example.com</span>
${line(COMMANDS[2])}</pre></div>`
}

const FLOW: readonly (readonly [IconName, string, string])[] = [
  ['up', 'git push', 'Or rhone deploy, or a button.'],
  ['box', 'Build', 'Detects the language and makes an image.'],
  ['rocket', 'Release', 'Starts beside the old version, checks its health, switches over.'],
  ['globe', 'hello.example.com', 'Live, with logs, metrics and a way back.']
]

/** An illustration: a push becomes a running app. */
function flow(): Html {
  return html`<ol class="flow">${FLOW.map(([name, title, text]) => html`<li>${icon(name)}<strong>${title}</strong><span class="hint">${text}</span></li>`)}</ol>`
}
