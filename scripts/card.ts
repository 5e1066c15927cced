import { html, trusted } from '../plugins/lib/html.ts'
import { MARK } from '../views/parts/icons.ts'

const STYLE = `
* { box-sizing: border-box; margin: 0 }
body { width: 1200px; height: 630px; padding: 72px 80px; display: grid; grid-template-columns: 1fr 448px; gap: 56px; align-items: center; color: #e4e6e8;
  background: radial-gradient(70rem 40rem at 110% -20%, #123a66 0, transparent 70%), #111316; font: 26px/1.45 system-ui, 'Liberation Sans', sans-serif }
.brand { display: flex; align-items: center; gap: 18px; font-weight: 680; font-size: 34px; letter-spacing: -0.02em }
.brand svg { width: 56px; height: 56px }
h1 { margin: 40px 0 24px; font-size: 64px; line-height: 1.04; letter-spacing: -0.036em; font-weight: 680 }
p { color: #9aa3ac; max-width: 26em }
pre { padding: 32px; border-radius: 18px; background: #14171b; border: 1px solid #2a3037; box-shadow: 0 24px 60px -12px #000; font: 21px/1.75 ui-monospace, 'DejaVu Sans Mono', monospace }
b { font-weight: 400; color: #5fd3a5 } i { font-style: normal; color: #8d96a0 } u { text-decoration: none; color: #79b8ff }
`

/** The preview image of links to the site: 1,200 by 630 px. */
export function linkCard(): string {
  return html`<!doctype html><html lang="en"><meta charset="utf-8"><title>Rhone</title><style>${trusted(STYLE)}</style>
<body><main><div class="brand">${MARK}Rhone</div><h1>Push to deploy, on servers that are yours</h1><p>Builds, releases, logs, secrets and teams: one process and a PostgreSQL.</p></main>
<pre><b>$</b> rhone login
<i>Signed in as ada.</i>
<b>$</b> rhone deploy
<i>Building    3.1s</i>
<i>Releasing   1.4s</i>
<i>Live at</i>
<u>hello.example.com</u></pre></body></html>`.toString()
}
