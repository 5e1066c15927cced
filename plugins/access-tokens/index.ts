import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { growingLru } from '../lib/growing-lru.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import { loadPackages } from '../lib/packages.ts'
import type { CredentialSource, Principal, Scope } from '../lib/principals.ts'
import { type Keyring, randomKeyring } from '../lib/signer.ts'
import { tokenKey } from '../lib/token.ts'
import { type Claims, claimsOf, jwtsOf, principalOf } from './jwt.ts'
import { signingKeys } from './keys.ts'
import { type Check, createTokenValidity } from './validity.ts'

export type { Keyring }

export const AccessTokensOptions = Type.Object(
  {
    issuer: Type.String({
      default: 'http://localhost',
      minLength: 1,
      description: 'Issuer and audience of the tokens: the origin of this server.'
    }),
    lifetime: Type.Integer({ default: 900, minimum: 1, maximum: 900, description: 'Lifetime of a token in seconds.' }),
    ttl: Type.Integer({
      default: 5_000,
      minimum: 0,
      maximum: 5_000,
      description: 'Milliseconds for which an answer about a token is cached while the change feed is down or silent.'
    }),
    cacheSize: Type.Integer({ default: 10_000, minimum: 1, description: 'Maximum number of cached tokens.' })
  },
  { additionalProperties: false }
)
export type AccessTokensOptions = Static<typeof AccessTokensOptions>

export interface AccessTokensDeps {
  /** The newest key signs, all keys verify. Without it, tokens are valid only in this process and until it restarts. */
  keys?: Keyring
  /** Looks up an API token's current principal. Without it, an access token keeps its rights until it expires. */
  check?: Check
  /**
   * Subscribes to changes. `onChange` receives the id of each changed API token or user, `onLive` fires when the feed
   * becomes live, `onGap` when it may have missed changes, and `onAlive` now and then, with a time, as
   * `performance.now()`, before which it has missed none. Without it, `check` runs again whenever `ttl` expires.
   *
   * @returns a function that unsubscribes
   */
  changes?: (
    onChange: (id: string) => void,
    onLive: () => void,
    onGap: () => void,
    onAlive: (at: number) => void
  ) => Promise<() => Promise<void>>
}

export interface AccessTokens extends CredentialSource {
  /** Mints a token that acts for the principal with the given scopes; it expires no later than the principal does. */
  mint(principal: Principal, scopes: readonly Scope[]): Promise<{ accessToken: string; expiresAt: Date }>
}

declare module 'fastify' {
  interface FastifyInstance {
    accessTokens: AccessTokens
  }
}

interface Verified {
  readonly claims: Claims
  readonly principal: Principal
}

const BEARER = /^bearer +([\w-]+\.[\w-]+\.[\w-]+)$/i
const LONGEST = 2_048
const JWKS_AGE = 300

/** Issues short-lived signed tokens and verifies them in memory. */
const accessTokens: FastifyPluginAsync<PluginInput<typeof AccessTokensOptions, AccessTokensDeps>> = async (
  app,
  input
) => {
  const options = parseOptions('rhone-access-tokens', AccessTokensOptions, input, ['keys', 'check', 'changes'])
  const { issuer, lifetime, ttl, cacheSize: max } = options
  const ring = input.keys ?? randomKeyring()
  const keys = signingKeys(ring)
  const jose = await loadPackages('rhone-access-tokens', ['jose'], () => import('jose'))
  const jwts = jwtsOf(jose, keys, issuer)
  const validity = createTokenValidity({ check: input.check, ttl, lifetime: lifetime * 1_000, max })
  const verified = growingLru<string, Verified>(max)
  const seconds = () => Math.floor(Date.now() / 1_000)
  let verifiedWith = ring.keys

  /** Claims verified with a key that has since been removed are no longer valid. */
  function verifiedBefore(key: string): Verified | undefined {
    if (ring.keys !== verifiedWith) {
      verified.clear()
      verifiedWith = ring.keys
    }
    return verified.get(key)
  }

  /** Verifies a signature once and caches the claims by token hash. */
  async function verify(token: string, key: string): Promise<Principal | null> {
    const claims = await jwts.verify(token, new Date())
    if (claims === null) return null
    const entry = { claims, principal: principalOf(claims) }
    verified.set(key, entry)
    return current(entry)
  }

  const current = ({ claims, principal }: Verified) => validity.of(principal, claims.iat * 1_000)

  app.decorate('accessTokens', {
    async mint(principal, scopes) {
      const iat = seconds()
      const ownEnd = principal.expiresAt === undefined ? Infinity : Math.floor(principal.expiresAt.getTime() / 1_000)
      const exp = Math.min(iat + lifetime, ownEnd)
      const accessToken = await jwts.sign(claimsOf(principal, scopes, issuer, iat, exp))
      return { accessToken, expiresAt: new Date(exp * 1_000) }
    },

    identify(request) {
      const { authorization } = request.headers
      if (authorization === undefined || authorization.length > LONGEST) return undefined
      const token = BEARER.exec(authorization)?.[1]
      if (token === undefined) return undefined
      const key = tokenKey(token)
      const known = verifiedBefore(key)
      if (known === undefined) return verify(token, key)
      return known.claims.exp > seconds() ? current(known) : null
    },

    forget: id => (id === undefined ? validity.forget() : validity.note(id))
  })

  if (input.changes !== undefined) {
    const ending = await input.changes(validity.note, validity.live, validity.gap, validity.alive)
    app.addHook('onClose', ending)
  }

  app.get(
    '/.well-known/jwks.json',
    {
      schema: {
        operationId: 'getJwks',
        summary: 'The keys that verify access tokens',
        tags: ['auth'],
        response: { 200: KeySet }
      },
      config: { access: 'public', slo: 'detail', rateClass: 'general', maintenance: false }
    },
    (_request, reply) => reply.header('cache-control', `public, max-age=${JWKS_AGE}`).send(keys.jwks())
  )
}

/** RFC 7517. */
const KeySet = Type.Object(
  {
    keys: Type.Array(Type.Record(Type.String(), Type.String()), {
      description: 'Public keys, in the format of RFC 7517.'
    })
  },
  { title: 'KeySet' }
)

export default fp(accessTokens, { name: 'rhone-access-tokens', fastify: '5.x' })
