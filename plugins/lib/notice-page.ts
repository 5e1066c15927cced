import type { FastifyInstance, FastifyReply } from 'fastify'
import { type Html, html, NO_ICON, trusted } from './html.ts'

/** A page with a single message in the middle of the screen. */
export interface Notice {
  title: string
  content: Html
  /** CSS rules in addition to those of every notice. */
  style: string
}

const STYLE = `
:root { color-scheme: light dark; font: 1rem/1.6 system-ui, sans-serif }
body { margin: 0; min-height: 100vh; display: grid; place-items: center }
main { max-width: 32rem; padding: 2rem }
h1 { font-size: 1.75rem; line-height: 1.25 }
`

/** @param nonce the CSP nonce that admits the page's style */
export function noticePage({ title, content, style }: Notice, nonce: string): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
${NO_ICON}
<style nonce="${nonce}">${trusted(STYLE + style)}</style>
</head>
<body>
<main>
${content}
</main>
</body>
</html>
`.toString()
}

/** Sets a reply's page headers and returns the CSP nonce; empty without the `security-headers` plugin. */
export function pageNonce(app: FastifyInstance, reply: FastifyReply): string {
  return app.hasDecorator('securityHeaders') ? app.securityHeaders.page(reply) : ''
}
