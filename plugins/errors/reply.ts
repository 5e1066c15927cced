import type { FastifyRequest } from 'fastify'
import { type AppError, anchorOf, titleOf } from '../lib/errors.ts'
import { html } from '../lib/html.ts'
import { noticePage } from '../lib/notice-page.ts'

export function asJson({ code, message, detail }: AppError, requestId: string): string {
  return JSON.stringify({ error: { code, message, detail, requestId } })
}

/** RFC 9457. The title is the same for every occurrence, so the specifics of this message precede the detail. */
export function asProblem(error: AppError, requestId: string, typeBase: string): string {
  const { code, message, detail, statusCode, violations } = error
  const title = titleOf(code)
  return JSON.stringify({
    type: typeBase + anchorOf(code),
    title,
    status: statusCode,
    detail: [message === title ? undefined : message, detail].filter(Boolean).join(': ') || undefined,
    instance: requestId,
    code,
    requestId,
    errors: violations
  })
}

const START = { href: '/', label: 'Back to the start page' }

/** The facts of an error that a page can show. */
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
  /** Our page whose form was refused. */
  readonly from: string | undefined
}

export function factsOf(error: AppError, request: FastifyRequest): ErrorFacts {
  const { statusCode, code, message, detail, action = START, headers } = error
  const retryAfter = headers?.['retry-after']
  return {
    statusCode,
    code,
    message,
    detail,
    requestId: request.id,
    action,
    retryAfter: retryAfter === undefined ? undefined : Number(retryAfter),
    from: request.method === 'GET' || request.method === 'HEAD' ? undefined : pathBefore(request)
  }
}

function pathBefore({ headers: { referer = '' }, host }: FastifyRequest): string | undefined {
  const from = URL.parse(referer)
  return from !== null && from.host === host ? from.pathname + from.search : undefined
}

const STYLE = `
h1 { margin: 0.25rem 0 1rem }
.status, .request { opacity: 0.7; margin: 0 }
.request { margin-top: 2rem; font-size: 0.875rem; overflow-wrap: anywhere }
a { color: inherit }
`

/** @param nonce lets the page's style through its CSP */
export function asPage(
  { message, detail, statusCode, action = START }: AppError,
  requestId: string,
  nonce: string
): string {
  const content = html`<p class="status">${statusCode}</p>
<h1>${message}</h1>
${detail && html`<p>${detail}</p>`}
<p><a href="${action.href}">${action.label}</a></p>
<p class="request">Request ${requestId}</p>`
  return noticePage({ title: `${statusCode} ${message}`, content, style: STYLE }, nonce)
}
