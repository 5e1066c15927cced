import { randomBytes } from 'node:crypto'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { cookieName, readCookie, setCookie } from './lib/cookies.ts'
import { onEntry } from './lib/entry.ts'
import { AppError } from './lib/errors.ts'
import { type PluginInput, parseOptions } from './lib/options.ts'
import { routeConfig, useRouteConfig } from './lib/route-config.ts'
import { createSigner, type Keyring, randomKeyring } from './lib/signer.ts'

export type { Keyring }

export const CsrfOptions = Type.Object(
  {
    origin: Type.String({
      default: '',
      description: 'The origin of the pages of this server. Empty: the Host of the request.'
    }),
    secure: Type.Boolean({
      default: true,
      description: 'Clients connect over HTTPS: cookies are Secure and have the prefix __Host-.'
    }),
    cookie: Type.String({
      default: 'rhone_visitor',
      minLength: 1,
      description: 'The cookie that forms are bound to before sign-in.'
    }),
    field: Type.String({ default: '_csrf', minLength: 1, description: 'The field of forms that holds the token.' })
  },
  { additionalProperties: false }
)
export type CsrfOptions = Static<typeof CsrfOptions>

export interface CsrfDeps {
  /** Signs the tokens. Without it, they are valid only in this process and until it restarts. */
  keys?: Keyring
}

export interface Csrf {
  /** The value for a form's hidden field, valid for the recipient of the reply. */
  token(request: FastifyRequest, reply: FastifyReply): string
}

declare module 'fastify' {
  interface FastifyInstance {
    csrf: Csrf
  }
  interface FastifyContextConfig {
    /** Restricts this unsafe route to calls from our own pages even without a session: for signing in and out. */
    csrf?: true
  }
}

const SAFE: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])
const FORM = 'application/x-www-form-urlencoded'
const VISITOR_FORM = /^[\w-]{22}$/
const VISIT = 86_400

/**
 * Ensures that only our own pages can make a browser change state. Apps on sibling hosts are not trusted, although
 * their requests carry SameSite cookies. Requests authenticated by a header cannot be forged this way, so they pass.
 */
const csrf: FastifyPluginAsync<PluginInput<typeof CsrfOptions, CsrfDeps>> = async (app, input) => {
  const { origin, secure, cookie, field } = parseOptions('rhone-csrf', CsrfOptions, input, ['keys'])
  const signer = createSigner('rhone csrf', input.keys ?? randomKeyring())
  const visitorCookie = cookieName(cookie, secure)

  function isGuarded(request: FastifyRequest): boolean {
    return !SAFE.has(request.method) && (request.principal?.via === 'session' || routeConfig(request).csrf === true)
  }

  /** Modern browsers send the origin of a request. A client that sends neither header is not one, and is refused. */
  function comesFromUs(request: FastifyRequest): boolean {
    const { 'sec-fetch-site': site, origin: from } = request.headers
    if (site === undefined && from === undefined) return false
    const isOurs = from === undefined || from === (origin || `${request.protocol}://${request.host}`)
    return isOurs && (site === undefined || site === 'same-origin')
  }

  /** What a token is bound to: the session, or the visitor cookie before sign-in. */
  function boundTo(request: FastifyRequest): string | undefined {
    const session = app.hasDecorator('session') ? app.session.secretOf(request) : undefined
    if (session !== undefined) return `session ${session}`
    const visitor = readCookie(request, visitorCookie)
    return visitor !== undefined && VISITOR_FORM.test(visitor) ? `visitor ${visitor}` : undefined
  }

  function isGenuine(request: FastifyRequest): boolean {
    const token = (request.body as Record<string, unknown> | null | undefined)?.[field]
    const subject = boundTo(request)
    return typeof token === 'string' && subject !== undefined && signer.verify(subject, token)
  }

  useRouteConfig(app)
  app.decorate('csrf', {
    token(request, reply) {
      const subject = boundTo(request)
      if (subject !== undefined) return signer.sign(subject)
      const visitor = randomBytes(16).toString('base64url')
      reply.header('set-cookie', setCookie(visitorCookie, visitor, { secure, maxAge: VISIT }))
      return signer.sign(`visitor ${visitor}`)
    }
  })

  onEntry(app, request => {
    if (isGuarded(request) && !comesFromUs(request)) return forged('It was not sent from a page of this server')
    return undefined
  })

  app.addHook('onRoute', route => {
    if ([route.method].flat().every(method => SAFE.has(method))) return
    route.preValidation = [route.preValidation ?? [], checkForm].flat()
  })

  /** Checks forms only: a page of another origin cannot send any other content type without permission. */
  function checkForm(request: FastifyRequest, _reply: FastifyReply, next: (error?: Error) => void): void {
    const isForm = request.headers['content-type']?.toLowerCase().startsWith(FORM) === true
    if (isForm && isGuarded(request) && !isGenuine(request)) next(forged('The page is out of date: reload it'))
    else next()
  }
}

function forged(detail: string): AppError {
  return new AppError('FORBIDDEN', { message: 'This request was not accepted', detail })
}

export default fp(csrf, { name: 'rhone-csrf', fastify: '5.x' })
