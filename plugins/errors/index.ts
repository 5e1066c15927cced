import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { onRefusal } from '../lib/entry.ts'
import { AppError, ERROR_CODES, type ErrorCode, errors } from '../lib/errors.ts'
import { type Tally, tallies } from '../lib/metrics.ts'
import { negotiate } from '../lib/negotiate.ts'
import { pageNonce } from '../lib/notice-page.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import type { Registry } from '../lib/registry.ts'
import { routePattern } from '../lib/request-tracker.ts'
import { routeConfig, useRouteConfig } from '../lib/route-config.ts'
import { routeTable } from '../lib/route-table.ts'
import { type TraceFields, traceFields } from '../lib/trace-context.ts'
import { toAppError } from './fault.ts'
import { answerFlood } from './flood-reply.ts'
import { dropInvalidHeaders, sendGuarded } from './guarded-send.ts'
import { outageLog } from './outage-log.ts'
import { faultOf, type RawFaults, rawFaults } from './raw-fault.ts'
import { asJson, asPage, asProblem, type ErrorFacts, factsOf } from './reply.ts'

export { AppError, type AppErrorOptions, type ErrorCode, errors } from '../lib/errors.ts'

export const ErrorsOptions = Type.Object(
  {
    problemTypeBase: Type.String({
      default: '/docs#',
      description: 'Prefix of RFC 9457 problem types, followed by the code in lower case.'
    })
  },
  { additionalProperties: false }
)
export type ErrorsOptions = Static<typeof ErrorsOptions>

export type { ErrorFacts } from './reply.ts'

/** An unintended reply with status 500 or above. */
export interface Failure {
  code: ErrorCode
  /** Method and pattern of the route. */
  route: string
  requestId: string
  error: unknown
  /** The trace of the request, if it has one. */
  trace: TraceFields
  /** Who sent it, if known. */
  userId?: string | undefined
}

export interface ErrorsDeps {
  /** The app's own if absent: errors are registered before metrics, so it cannot be passed in time. */
  registry?: Registry
  /** Called for every failure: an error tracker, a table of recent errors. Must not block. */
  sinks?: readonly ((failure: Failure) => void)[]
  /** Renders an error as a page; undefined selects the plain page. */
  page?: (facts: ErrorFacts, request: FastifyRequest, nonce: string) => string | undefined
}

declare module 'fastify' {
  interface FastifyInstance {
    errors: RawFaults
  }
}

/** Body headers that a handler may have set for the body that the error now replaces. */
const ENTITY_HEADERS = ['etag', 'last-modified', 'expires', 'content-encoding', 'content-disposition', 'accept-ranges']

const errorsPlugin: FastifyPluginAsync<PluginInput<typeof ErrorsOptions, ErrorsDeps>> = async (app, input) => {
  const { problemTypeBase } = parseOptions('rhone-errors', ErrorsOptions, input, ['registry', 'sinks', 'page'])
  const { sinks = [], page: renderPage = () => undefined } = input
  let replies: (code: ErrorCode) => Tally
  const routes = routeTable(app)
  const outages = outageLog(app)

  useRouteConfig(app)
  app.decorate('errors', rawFaults(app))

  app.addHook('onReady', done => {
    const registry = input.registry ?? (app.hasDecorator('metrics') ? app.metrics.registry : undefined)
    replies = tallies(registry, { name: 'rhone_errors_total', help: 'Error replies by code.', labelNames: ['code'] })
    // Starts at zero: a rate misses the first event of a series that begins with it.
    for (const code of ERROR_CODES) replies(code)
    done()
  })

  // After all onRequest hooks, so that a faulty request is limited and counted, and its reply carries every header.
  app.addHook('preParsing', (request, _reply, payload, next) => next(faultOf(request.raw), payload))

  app.setNotFoundHandler(request => {
    const methods = routes.methodsFor(request.raw.url as string)
    throw methods.length === 0 ? errors.notFound('Route') : errors.methodNotAllowed(methods)
  })

  onRefusal(app, (error, request, reply) => {
    if (!(error instanceof AppError) || !answerFlood(error, request, reply)) return false
    replies(error.code).add()
    return true
  })

  app.setErrorHandler((thrown, request, reply) => {
    const error = toAppError(thrown, request)
    replies(error.code).add()
    if (error.isFailure) report(error, request)

    if (reply.raw.headersSent) reply.hijack().raw.destroy()
    else send(error, request, reply)
  })

  function report(error: AppError, request: FastifyRequest): void {
    const { code } = error
    const route = `${request.method} ${routePattern(request)}`
    const cause = error.cause ?? error
    const trace = traceFields(request)
    const fields = { err: cause, code, route, reqId: request.id, ...trace }
    if (error.statusCode === 503) outages.note(fields)
    else app.log.error(fields, 'request failed')
    for (const sink of sinks)
      try {
        sink({ code, route, requestId: request.id, error: cause, trace, userId: request.principal?.userId })
      } catch (failure) {
        app.log.error({ err: failure }, 'error sink failed')
      }
  }

  function send(error: AppError, request: FastifyRequest, reply: FastifyReply): void {
    for (const name of ENTITY_HEADERS) reply.removeHeader(name)
    reply.code(error.statusCode).header('cache-control', 'no-store')
    if (error.headers !== undefined) reply.headers(error.headers)
    if (error.isFailure) dropInvalidHeaders(reply)
    sendGuarded(reply, bodyOf(error, request, reply), thrown => report(errors.internal(thrown), request))
  }

  function bodyOf(error: AppError, request: FastifyRequest, reply: FastifyReply): string {
    switch (negotiate(request.headers.accept, mayBePage(request))) {
      case 'page':
        reply.type('text/html; charset=utf-8')
        return pageOf(error, request, pageNonce(app, reply))
      case 'problem':
        reply.type('application/problem+json; charset=utf-8')
        return asProblem(error, request.id, problemTypeBase)
      case 'json':
        reply.type('application/json; charset=utf-8')
        return asJson(error, request.id)
    }
  }

  function pageOf(error: AppError, request: FastifyRequest, nonce: string): string {
    return renderPage(factsOf(error, request), request, nonce) ?? asPage(error, request.id, nonce)
  }

  /** A visitor may have mistyped a URL without a route; a URL with a wrong method is a page if GET serves one. */
  function mayBePage(request: FastifyRequest): boolean {
    const asked = request.is404 ? routes.configFor('GET', request.raw.url as string) : routeConfig(request)
    return asked === undefined || asked.page !== undefined
  }
}

export default fp(errorsPlugin, { name: 'rhone-errors', fastify: '5.x' })
