import type { Registry } from '@platformatic/prom-client'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { LRUCache } from 'lru-cache'
import type { Scope } from '../../drizzle/schema.ts'
import { onEntry } from '../lib/entry.ts'
import { AppError, errors } from '../lib/errors.ts'
import { counter } from '../lib/metrics.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import { routeConfig, useRouteConfig } from '../lib/route-config.ts'
import { isWellFormedToken, tokenKey, tokenPrefix } from '../lib/token.ts'
import { type Access, checkPolicy, includesScope, neededScope } from './access.ts'
import { bearerToken, insufficientScope, invalidToken } from './bearer.ts'
import { createPrincipalCache, type Principal, type TokenVerifier } from './principals.ts'
import { batchUses, type Touch } from './token-uses.ts'

export type { Principal, TokenVerifier } from './principals.ts'

export const AuthOptions = Type.Object(
  {
    ttl: Type.Integer({
      default: 5_000,
      minimum: 0,
      maximum: 5_000,
      description: 'Milliseconds for which a verified token is not verified again.'
    }),
    refusalTtl: Type.Integer({
      default: 1_000,
      minimum: 0,
      maximum: 5_000,
      description: 'Milliseconds for which a refused token is refused without a look-up.'
    }),
    cacheSize: Type.Integer({ default: 10_000, minimum: 1, description: 'How many tokens are remembered at most.' }),
    touchInterval: Type.Integer({
      default: 60_000,
      minimum: 1,
      description: 'Milliseconds between two reports of which tokens were used.'
    }),
    requireAccess: Type.Boolean({ default: false, description: 'Fail the boot on a route that sets no config.access.' })
  },
  { additionalProperties: false }
)
export type AuthOptions = Static<typeof AuthOptions>

export interface AuthDeps {
  /** Without one, no token is valid. */
  verifier?: TokenVerifier
  /** Takes note of the tokens that were used since the last call. */
  touch?: Touch
  /**
   * Tells of every token or user that has changed, by id, and of gaps after which anything may have. Without it, a
   * revocation takes effect when what was remembered of the token ends.
   *
   * @returns ends the news
   */
  news?: (onChange: (id: string) => void, onGap: () => void) => Promise<() => Promise<void>>
  registry?: Registry
}

export interface Auth {
  /**
   * Who sends this request, for a public route that tells more to those it knows: null without a valid token.
   * @throws 503 when it cannot be told
   */
  identify(request: FastifyRequest): Promise<Principal | null>
  /** Makes a change of a token or of a user effective here at once. Without an id: of all, after a gap in the news. */
  forget(id?: string): void
}

declare module 'fastify' {
  interface FastifyInstance {
    auth: Auth
  }
  interface FastifyRequest {
    principal: Principal | null
  }
  interface FastifyContextConfig {
    /**
     * Who may call this route; anyone with a valid token when absent. Roles in a team are checked where the team is
     * loaded; metrics have a token of their own.
     */
    access?: Access
    /** What the token must allow. When absent: `read` for safe methods, `admin` for others and for operators' routes. */
    scope?: Scope
  }
}

/** Knows callers by their API tokens and lets them in by each route's `config.access` and `config.scope`. */
const auth: FastifyPluginAsync<PluginInput<typeof AuthOptions, AuthDeps>> = async (app, input) => {
  const options = parseOptions('rhone-auth', AuthOptions, input, ['verifier', 'touch', 'news', 'registry'])
  const verifier = input.verifier ?? { verify: async () => null }
  const principals = createPrincipalCache(verifier, {
    ttl: options.ttl,
    refusalTtl: options.refusalTtl,
    max: options.cacheSize
  })
  const markUsed = batchUses(app, options.touchInterval, input.touch)
  const reported = new LRUCache<string, true>({ max: 1_000, ttl: 60_000 })
  const failures = counter(input.registry, {
    name: 'rhone_auth_failures_total',
    help: 'Requests that were not let in, by reason.',
    labelNames: ['reason']
  })

  /** The caller, where memory tells; a promise of it, where it has to be read. */
  function verify(token: string): Principal | null | Promise<Principal | null> {
    const key = tokenKey(token)
    const principal = principals.peek(key)
    if (principal !== undefined) return principal
    return isWellFormedToken(token) ? principals.load(key).catch(failUnavailable) : null
  }

  function failUnavailable(cause: unknown): never {
    failures.inc({ reason: 'unavailable' })
    throw cause instanceof AppError && cause.statusCode === 503 ? cause : errors.unavailable(1, undefined, cause)
  }

  /** Why the sender of a token may not call this route; undefined for one who may. */
  function judge(request: FastifyRequest, token: string, principal: Principal | null): AppError | undefined {
    return principal === null ? refuseToken(request, token) : admit(request, principal)
  }

  /** Accepts the caller for this route, or says why not. */
  function admit(request: FastifyRequest, principal: Principal): AppError | undefined {
    request.principal = principal
    markUsed(principal.tokenId)
    const config = routeConfig(request)
    if (config.access === 'operator' && !principal.isOperator)
      return refuse('operator', errors.forbidden('For operators only'))
    const scope = neededScope(request, config)
    if (!includesScope(principal.scopes, scope)) return refuse('scope', insufficientScope(scope))
  }

  function refuse(reason: string, error: AppError): AppError {
    failures.inc({ reason })
    return error
  }

  function refuseToken(request: FastifyRequest, token: string): AppError {
    if (!isWellFormedToken(token)) return refuse('malformed', invalidToken('The token is incomplete or mistyped'))
    reportOnce(request, token)
    return refuse('unknown', invalidToken('The token is unknown, expired or revoked'))
  }

  /** A token that was never issued, or no longer counts, is worth a row in the audit log; its every use is not. */
  function reportOnce(request: FastifyRequest, token: string): void {
    const key = tokenKey(token)
    if (!app.hasDecorator('audit') || reported.has(key)) return
    reported.set(key, true)
    app.audit.attempt(request, {
      type: 'auth',
      action: 'authenticate',
      resource: 'token',
      outcome: 'failure',
      details: { prefix: tokenPrefix(token) }
    })
  }

  useRouteConfig(app)
  app.decorateRequest('principal', null)
  app.decorate('auth', {
    forget: principals.forget,
    async identify(request) {
      const token = bearerToken(request)
      if (token === undefined || token === null) return null
      request.principal = await verify(token)
      return request.principal
    }
  })

  if (input.news !== undefined) {
    const ending = await input.news(principals.forget, () => principals.forget())
    app.addHook('onClose', ending)
  }

  app.addHook('onRoute', route => {
    checkPolicy(`${route.method} ${route.url}`, route.config ?? {}, options.requireAccess)
  })

  onEntry(app, request => {
    if (isOpen(request)) return
    const token = bearerToken(request)
    if (token === undefined)
      return refuse('missing', errors.unauthorized('Send a token as "Authorization: Bearer rhone_..."'))
    if (token === null) return refuse('malformed', invalidToken('Authorization must be "Bearer" and a token'))

    const principal = verify(token)
    if (principal instanceof Promise) return principal.then(found => judge(request, token, found))
    return judge(request, token, principal)
  })
}

/** Whether a request needs no caller. Unmatched ones go on to their 404. */
function isOpen(request: FastifyRequest): boolean {
  const { access } = routeConfig(request)
  return access === 'public' || access === 'metrics' || request.is404
}

export default fp(auth, { name: 'rhone-auth', fastify: '5.x' })
