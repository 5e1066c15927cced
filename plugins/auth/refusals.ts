import type { FastifyInstance, FastifyRequest } from 'fastify'
import { LRUCache } from 'lru-cache'
import { type AppError, errors } from '../lib/errors.ts'
import { counter } from '../lib/metrics.ts'
import type { Registry } from '../lib/registry.ts'
import { isWellFormedToken, tokenKey, tokenPrefix } from '../lib/token.ts'
import { bearerToken, invalidToken } from './bearer.ts'

/** The general shape of a signed access token. */
const SIGNED = /^[\w-]+\.[\w-]+\.[\w-]+$/

/** Refuses requests: counts them by reason, builds the error, and audits possible attacks. */
export function createRefusals(app: FastifyInstance, registry: Registry | undefined) {
  const reported = new LRUCache<string, true>({ max: 1_000, ttl: 60_000 })
  const failures = counter(registry, {
    name: 'rhone_auth_failures_total',
    help: 'Requests that failed authentication or authorization, by reason.',
    labelNames: ['reason']
  })

  function refuse(reason: string, error: AppError): AppError {
    failures.inc({ reason })
    return error
  }

  function refuseCredential(request: FastifyRequest): AppError {
    const token = bearerToken(request)
    if (token === undefined && request.headers.cookie !== undefined)
      return refuse('session', errors.unauthorized('You are not signed in, or your session has ended'))
    if (token === undefined)
      return refuse('missing', errors.unauthorized('Send a token as "Authorization: Bearer rhone_..."'))
    if (token === null) return refuse('malformed', invalidToken('Authorization must be "Bearer" followed by a token'))
    if (SIGNED.test(token)) return refuse('signed', invalidToken('The access token is invalid or expired'))
    if (!isWellFormedToken(token)) return refuse('malformed', invalidToken('The token is incomplete or mistyped'))
    reportOnce(request, token)
    return refuse('unknown', invalidToken('The token is unknown, expired or revoked'))
  }

  /** Audits the use of an unknown, expired or revoked token once, not on every request. */
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

  return { refuse, refuseCredential }
}
