import type { Socket } from 'node:net'
import { type CredentialSource, createPrincipalCache, type TokenVerifier } from '../lib/principals.ts'
import { isWellFormedToken, tokenKey } from '../lib/token.ts'
import { bearerToken } from './bearer.ts'

export interface TokenSourceSettings {
  readonly ttl: number
  readonly refusalTtl: number
  readonly cacheSize: number
}

/** Authenticates callers by API token. Must be the last source: it rejects any other Authorization value. */
export function createTokenSource(verifier: TokenVerifier, settings: TokenSourceSettings): CredentialSource {
  const { ttl, refusalTtl, cacheSize } = settings
  const principals = createPrincipalCache(verifier, { ttl, refusalTtl, max: cacheSize })
  const keyOf = keyPerConnection()

  return {
    identify(request) {
      const token = bearerToken(request)
      if (token === undefined || token === null) return token
      const key = keyOf(token, request.raw.socket)
      const principal = principals.peek(key)
      if (principal !== undefined) return principal
      return isWellFormedToken(token) ? principals.load(key) : null
    },
    forget: principals.forget
  }
}

/**
 * Computes a token's key without rehashing it for each request of a connection; hashing is about a twentieth of such a
 * request's cost. The price: the token stays in memory as long as its connection.
 */
function keyPerConnection(): (token: string, connection: Socket) => string {
  const shown = new WeakMap<Socket, { readonly token: string; readonly key: string }>()
  return (token, connection) => {
    const last = shown.get(connection)
    if (last?.token === token) return last.key
    const key = tokenKey(token)
    shown.set(connection, { token, key })
    return key
  }
}
