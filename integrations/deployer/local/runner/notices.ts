import type { IncomingMessage, ServerResponse } from 'node:http'
import { STATUS_CODES } from '../../../../plugins/lib/http.ts'
import { negotiate } from '../../../../plugins/lib/negotiate.ts'
import { endReply } from './end-reply.ts'

/** A reply sent in place of the app's. */
export interface Notice {
  readonly status: number
  readonly code: string
  readonly message: string
}

/** Seconds for an app to begin its reply after the end of the request. The body has no time limit. */
export const REPLY_TIMEOUT = 60

export const notices = {
  badRequest: { status: 400, code: 'BAD_REQUEST', message: 'This request is not for an app.' },
  unknown: { status: 404, code: 'APP_NOT_FOUND', message: 'No app is deployed under this name.' },
  invalid: { status: 502, code: 'BAD_GATEWAY', message: 'The reply of the app is not valid HTTP.' },
  longHead: {
    status: 502,
    code: 'BAD_GATEWAY',
    message: 'The headers of the app’s reply exceed 64 KB, the maximum.'
  },
  broken: { status: 502, code: 'BAD_GATEWAY', message: 'The app closed the connection.' },
  down: { status: 503, code: 'APP_NOT_RUNNING', message: 'The app is not running at the moment.' },
  timeout: {
    status: 504,
    code: 'GATEWAY_TIMEOUT',
    message: `The app did not answer within ${REPLY_TIMEOUT} s.`
  }
} as const satisfies Record<string, Notice>

/** Sends HTML to browsers and JSON to programs. */
export function sendNotice(request: IncomingMessage, response: ServerResponse, notice: Notice): void {
  const isPage = negotiate(request.headers.accept, true) === 'page'
  const body = isPage ? pageOf(notice) : JSON.stringify({ error: { code: notice.code, message: notice.message } })
  // An unread body would block the next request on this connection.
  if (!request.complete) response.shouldKeepAlive = false
  // Sets the status text, too: the one the app chose may be invalid.
  response.writeHead(notice.status, STATUS_CODES[notice.status], {
    'content-type': isPage ? 'text/html; charset=utf-8' : 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...(notice.status === 503 && { 'retry-after': '1' })
  })
  response.write(body)
  endReply(request, response)
}

const pageOf = ({ status, message }: Notice) => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${status}</title>
<style>:root{color-scheme:light dark;font:1rem/1.6 system-ui,sans-serif}body{display:grid;place-items:center;min-height:90vh}</style>
<main><h1>${status}</h1><p>${message}</p></main>
</html>
`
