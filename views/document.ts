import { type Fragment, type Html, html, trusted } from '../plugins/lib/html.ts'
import type { PageContext } from './context.ts'

export interface Head {
  readonly title: string
  readonly description?: string | undefined
  /** For pages that may be indexed and shared; all others exclude robots. */
  readonly isPublic?: boolean
}

/** The part of a request's context that the head of a page needs. */
export type HeadContext = Pick<PageContext, 'nonce' | 'asset' | 'theme'>

/** Only links within the site, and none that change or end anything. */
const PREFETCH = trusted(
  JSON.stringify({
    prefetch: [
      {
        where: {
          and: [
            { href_matches: '/*' },
            { not: { href_matches: ['/auth/*', '/api/*', '/*\\?*done=*', '/docs', '/assets/*'] } },
            { not: { selector_matches: '[download], [data-no-prefetch]' } }
          ]
        },
        eagerness: 'moderate'
      }
    ]
  })
)
const HTMX_CONFIG = '{"extensions":"hx-csp","includeIndicatorCSS":false,"history":false}'

/** The whole document around the body of a page. */
export function document(head: Head, { nonce, asset, theme }: HeadContext, body: Fragment): Html {
  const { title, description, isPublic } = head
  return html`<!doctype html>
<html lang="en"${theme && html` data-theme="${theme}"`}>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="${theme ?? 'light dark'}">
<title>${title}</title>
${
  description &&
  html`<meta name="description" content="${description}">
<meta property="og:title" content="${title}"><meta property="og:description" content="${description}"><meta property="og:type" content="website"><meta property="og:image" content="${asset('og.png')}"><meta name="twitter:card" content="summary_large_image">`
}
${!isPublic && html`<meta name="robots" content="noindex">`}
<link rel="icon" href="/favicon.ico" type="image/svg+xml">
<link rel="stylesheet" href="${asset('app.css')}">
<meta name="htmx-config" content="${HTMX_CONFIG}">
<script nonce="${nonce}" src="${asset('htmx.js')}" defer></script>
<script nonce="${nonce}" src="${asset('hx-csp.js')}" defer></script>
<script nonce="${nonce}" src="${asset('app.js')}" type="module" data-app data-events="${asset('events.js')}" data-log-file="${asset('log.js')}" data-charts-file="${asset('charts.js')}" data-uplot="${asset('uplot.js')}" data-uplot-look="${asset('uplot.css')}"></script>
<script nonce="${nonce}" type="speculationrules">${PREFETCH}</script>
</head>
<body>
${body}
</body>
</html>
`
}
