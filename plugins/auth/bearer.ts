import type { FastifyRequest } from 'fastify'
import { AppError } from '../lib/errors.ts'
import type { Scope } from '../lib/principals.ts'

const BEARER = /^bearer +(\S{1,2048})$/i

/** The request's bearer token: undefined without an Authorization header, null if the header holds anything else. */
export function bearerToken(request: FastifyRequest): string | null | undefined {
  const { authorization } = request.headers
  if (authorization === undefined) return undefined
  return BEARER.exec(authorization)?.[1] ?? null
}

/** Like `errors.unauthorized`, plus the `error` that RFC 6750 requires if a token was sent. */
export function invalidToken(detail: string): AppError {
  return new AppError('UNAUTHORIZED', {
    detail,
    headers: { 'www-authenticate': 'Bearer realm="rhone", error="invalid_token"' }
  })
}

export function insufficientScope(scope: Scope): AppError {
  return new AppError('FORBIDDEN', {
    detail: `This needs a token with the scope ${scope}`,
    headers: { 'www-authenticate': `Bearer realm="rhone", error="insufficient_scope", scope="${scope}"` }
  })
}

/** RFC 9470: the caller is authenticated, but not recently enough. */
export function staleSignIn(maxAge: number): AppError {
  return new AppError('FORBIDDEN', {
    message: 'Please sign in again',
    detail: `This needs a sign-in within the last ${Math.round(maxAge / 60)} minutes`,
    headers: {
      'www-authenticate': `Bearer realm="rhone", error="insufficient_user_authentication", max_age="${maxAge}"`
    }
  })
}
