import type { FastifyReply, FastifyRequest } from 'fastify'
import type { AppError } from '../lib/errors.ts'
import { negotiate } from '../lib/negotiate.ts'
import { routeConfig } from '../lib/route-config.ts'

/**
 * Redirects a browser that asks for a page to the sign-in page; every other request gets the error.
 * @param signInPage '' when there is none
 * @param more parameters of the page, each with `&` in front
 */
export function leadToSignIn(
  request: FastifyRequest,
  reply: FastifyReply,
  error: AppError,
  signInPage: string,
  more = ''
): AppError | FastifyReply {
  if (signInPage === '' || !wantsPage(request)) return error
  const signIn = `${signInPage}?next=${encodeURIComponent(pageOf(request))}${more}`
  if (request.headers['hx-request'] === undefined) return reply.redirect(signIn, 303)
  // htmx would follow a plain redirect and swap the sign-in page into part of the current page.
  reply.header('hx-redirect', signIn)
  return error
}

/** Whether a browser asks for a page. */
function wantsPage(request: FastifyRequest): boolean {
  const { page } = routeConfig(request)
  return page === true || (page === 'shared' && negotiate(request.headers.accept, true) === 'page')
}

/** The page to return to; for a form, the page that contains it. */
function pageOf({ method, url, headers, host }: FastifyRequest): string {
  if (method === 'GET' || method === 'HEAD') return url
  const from = URL.parse(headers.referer ?? '')
  return from?.host === host ? from.pathname + from.search : ''
}
