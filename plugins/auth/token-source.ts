import { type CredentialSource, createPrincipalCache, type TokenVerifier } from '../lib/principals.ts'
import { isWellFormedToken, tokenKey } from '../lib/token.ts'
import { bearerToken } from './bearer.ts'

export interface TokenSourceSettings {
  readonly ttl: number
  readonly refusalTtl: number
  readonly cacheSize: number
}

/** Knows callers by API tokens. The last source of all: whatever else stands in Authorization is not valid. */
export function createTokenSource(verifier: TokenVerifier, settings: TokenSourceSettings): CredentialSource {
  const { ttl, refusalTtl, cacheSize } = settings
  const principals = createPrincipalCache(verifier, { ttl, refusalTtl, max: cacheSize })

  return {
    identify(request) {
      const token = bearerToken(request)
      if (token === undefined || token === null) return token
      const key = tokenKey(token)
      const principal = principals.peek(key)
      if (principal !== undefined) return principal
      return isWellFormedToken(token) ? principals.load(key) : null
    },
    forget: principals.forget
  }
}
