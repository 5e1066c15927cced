import { html } from '../plugins/lib/html.ts'
import { noticePage } from '../plugins/lib/notice-page.ts'

const STYLE = `
h1 { margin: 0 0 0.5rem; letter-spacing: -0.02em }
nav { display: flex; flex-wrap: wrap; gap: 1.5rem; margin-top: 1.5rem }
a { color: inherit }
`

/** The start page. @param nonce the nonce that its CSP allows styles by */
export function startPage(nonce: string): string {
  const content = html`<h1>Rhone</h1>
<p>Push to deploy: teams, apps, secrets, builds, deployments and logs, by an API or the command line.</p>
<nav><a href="/login">Sign in</a> <a href="/docs">API</a></nav>`
  return noticePage({ title: 'Rhone', content, style: STYLE }, nonce)
}
