import type { FastifyRequest } from 'fastify'
import { negotiate } from '../lib/negotiate.ts'
import { routeConfig } from '../lib/route-config.ts'

/** Whether a browser asks for a page, so that it can be led to where people sign in. */
export function wantsPage(request: FastifyRequest): boolean {
  const { page } = routeConfig(request)
  return page === true || (page === 'shared' && negotiate(request.headers.accept, true) === 'page')
}

/** The page to come back to: of a form, the page that it was on. */
export function pageOf({ method, url, headers, host }: FastifyRequest): string {
  if (method === 'GET' || method === 'HEAD') return url
  const from = URL.parse(headers.referer ?? '')
  return from?.host === host ? from.pathname + from.search : ''
}
