import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { onEntry } from '../lib/entry.ts'
import { AppError, errors } from '../lib/errors.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import type { CredentialSource, Principal, Scope, TokenVerifier } from '../lib/principals.ts'
import type { Registry } from '../lib/registry.ts'
import { routeConfig, useRouteConfig } from '../lib/route-config.ts'
import { type Access, accessRefusal, checkPolicy } from './access.ts'
import { leadToSignIn } from './pages.ts'
import { createRefusals } from './refusals.ts'
import { createTokenSource } from './token-source.ts'
import { batchUses, type RecordTokenUses } from './token-uses.ts'

export type { CredentialSource, Principal, Scope, TokenVerifier } from '../lib/principals.ts'
export type { TokenUse } from './token-uses.ts'

export const AuthOptions = Type.Object(
  {
    ttl: Type.Integer({
      default: 5_000,
      minimum: 0,
      maximum: 5_000,
      description: 'Milliseconds for which a verified token is cached.'
    }),
    refusalTtl: Type.Integer({
      default: 1_000,
      minimum: 0,
      maximum: 5_000,
      description: 'Milliseconds for which a refused token is cached.'
    }),
    cacheSize: Type.Integer({ default: 10_000, minimum: 1, description: 'Maximum number of cached tokens.' }),
    touchInterval: Type.Integer({
      default: 60_000,
      minimum: 1,
      description: 'Milliseconds between reports of token use.'
    }),
    requireAccess: Type.Boolean({
      default: false,
      description: 'Refuse to boot if a route has no config.access.'
    }),
    signInPage: Type.String({
      default: '',
      description:
        'Sign-in page for browsers that request a page, called with ?next=, and &again=yes for a step-up. Empty: they get 401 or 403, like all clients.'
    }),
    stepUpAge: Type.Integer({
      default: 900,
      minimum: 1,
      description: 'Seconds after a sign-in during which a session may call routes with config.stepUp.'
    })
  },
  { additionalProperties: false }
)
export type AuthOptions = Static<typeof AuthOptions>

export interface AuthDeps {
  /** Without a verifier, no API token is valid. */
  verifier?: TokenVerifier
  /** Records the tokens used since the last call, and the client addresses. */
  touch?: RecordTokenUses
  /** Other credential sources, tried before API tokens. */
  sources?: readonly CredentialSource[]
  /**
   * Subscribes to changes. `onChange` receives the id of each changed token or user; `onGap` fires when changes may
   * have been missed. Without it, a revocation takes effect when the token's cache entry expires.
   *
   * @returns a function that unsubscribes
   */
  changes?: (onChange: (id: string) => void, onGap: () => void) => Promise<() => Promise<void>>
  registry?: Registry
}

export interface Auth {
  /**
   * Identifies the caller on a public route that shows more to authenticated callers. Null without a valid credential.
   * @throws 503 when the credential cannot be checked
   */
  identify(request: FastifyRequest): Promise<Principal | null>
  /** Drops cached data of a token, session or user at once. Without an id, drops everything, as after a feed gap. */
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
     * Who may call this route. Default: any caller with a valid credential. Team roles are checked where the team is
     * loaded; metrics have their own token.
     */
    access?: Access
    /** The scope a token needs. Default: `read` for safe methods, `admin` for all others and for operator routes. */
    scope?: Scope
    /**
     * Admits tokens restricted to one team although the route is not about a team; its handler must enforce the
     * restriction. Routes for team members, admins and owners always admit such tokens.
     */
    teamTokens?: true
    /** A sensitive action: a session must have signed in recently. Tokens are not affected. */
    stepUp?: true
  }
}

const DEPS = ['verifier', 'touch', 'sources', 'changes', 'registry'] as const

/** Authenticates callers by token or session and authorizes them by each route's config. */
const auth: FastifyPluginAsync<PluginInput<typeof AuthOptions, AuthDeps>> = async (app, input) => {
  const options = parseOptions('rhone-auth', AuthOptions, input, DEPS)
  const tokens = createTokenSource(input.verifier ?? { verify: async () => null }, options)
  const sources = [...(input.sources ?? []), tokens]
  const markUsed = batchUses(app, options.touchInterval, input.touch)
  const { refuse, refuseCredential } = createRefusals(app, input.registry)

  /** The caller, if cached; a promise if it has to be loaded. */
  function credentialOf(request: FastifyRequest): ReturnType<CredentialSource['identify']> {
    for (const source of sources) {
      const found = source.identify(request)
      if (found !== undefined) return found instanceof Promise ? found.catch(failUnavailable) : found
    }
  }

  function failUnavailable(cause: unknown): never {
    throw refuse(
      'unavailable',
      cause instanceof AppError && cause.statusCode === 503 ? cause : errors.unavailable(1, undefined, cause)
    )
  }

  /** Admits the caller to this route, or returns the refusal. */
  function admit(
    request: FastifyRequest,
    reply: FastifyReply,
    principal: Principal
  ): AppError | FastifyReply | undefined {
    request.principal = principal
    if (principal.via !== 'session') markUsed(principal.credentialId, request)
    const lack = accessRefusal(request, principal, routeConfig(request), options.stepUpAge)
    if (lack === undefined) return
    const error = refuse(...lack)
    return lack[0] === 'stale' ? leadToSignIn(request, reply, error, options.signInPage, '&again=yes') : error
  }

  function judge(
    request: FastifyRequest,
    reply: FastifyReply,
    principal: Principal | null | undefined
  ): AppError | FastifyReply | undefined {
    return principal
      ? admit(request, reply, principal)
      : leadToSignIn(request, reply, refuseCredential(request), options.signInPage)
  }

  function forget(id?: string): void {
    for (const source of sources) source.forget(id)
  }

  useRouteConfig(app)
  app.decorateRequest('principal', null)
  app.decorate('auth', {
    forget,
    async identify(request) {
      request.principal = (await credentialOf(request)) ?? null
      return request.principal
    }
  })

  if (input.changes !== undefined) {
    const ending = await input.changes(forget, () => forget())
    app.addHook('onClose', ending)
  }

  app.addHook('onRoute', route => {
    checkPolicy(`${route.method} ${route.url}`, route.config ?? {}, options.requireAccess)
  })

  onEntry(app, (request, reply) => {
    if (isOpen(request)) return
    const principal = credentialOf(request)
    if (principal instanceof Promise) return principal.then(found => judge(request, reply, found))
    return judge(request, reply, principal)
  })
}

/** Whether a request needs no authentication. Unmatched routes continue to their 404. */
function isOpen(request: FastifyRequest): boolean {
  const { access } = routeConfig(request)
  return access === 'public' || access === 'metrics' || request.is404
}

export default fp(auth, { name: 'rhone-auth', fastify: '5.x' })
