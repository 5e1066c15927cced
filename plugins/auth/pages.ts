import type { FastifyReply, FastifyRequest } from 'fastify'
import type { AppError } from '../lib/errors.ts'
import { negotiate } from '../lib/negotiate.ts'
import { routeConfig } from '../lib/route-config.ts'

/**
 * Leads a browser that asks for a page to where people sign in; everything else gets the error.
 *
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
  // A script that swaps a part of a page would follow a redirect, and swap in the sign-in page.
  reply.header('hx-redirect', signIn)
  return error
}

/** Whether a browser asks for a page. */
function wantsPage(request: FastifyRequest): boolean {
  const { page } = routeConfig(request)
  return page === true || (page === 'shared' && negotiate(request.headers.accept, true) === 'page')
}

/** The page to come back to: of a form, the page that it was on. */
function pageOf({ method, url, headers, host }: FastifyRequest): string {
  if (method === 'GET' || method === 'HEAD') return url
  const from = URL.parse(headers.referer ?? '')
  return from?.host === host ? from.pathname + from.search : ''
}
