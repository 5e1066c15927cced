import { randomUUID } from 'node:crypto'
import { type Static, Type } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import type { JWTHeaderParameters } from 'jose'
import type { Principal } from '../lib/principals.ts'
import type { SigningKeys } from './keys.ts'

/** The subset of RFC 9068 that applies when the issuer is the only audience. */
const Claims = Type.Object(
  {
    iss: Type.String(),
    aud: Type.String(),
    sub: Type.String({ minLength: 1 }),
    jti: Type.String({ minLength: 1 }),
    iat: Type.Integer(),
    exp: Type.Integer(),
    /** Id of the API token it was minted from. */
    tid: Type.String({ minLength: 1 }),
    name: Type.String(),
    scope: Type.String(),
    team: Type.Optional(Type.String()),
    operator: Type.Optional(Type.Literal(true))
  },
  { additionalProperties: false }
)
export type Claims = Static<typeof Claims>

type Scopes = Principal['scopes']

const ALGORITHM = 'EdDSA'
const TYPE = 'at+jwt'
const isClaims = TypeCompiler.Compile(Claims)

export function claimsOf(principal: Principal, scopes: Scopes, issuer: string, iat: number, exp: number): Claims {
  const { userId, credentialId, username, teamId, isOperator } = principal
  return {
    iss: issuer,
    aud: issuer,
    sub: userId,
    jti: randomUUID(),
    iat,
    exp,
    tid: credentialId,
    name: username,
    scope: scopes.join(' '),
    ...(teamId !== undefined && { team: teamId }),
    ...(isOperator && { operator: true as const })
  }
}

export function principalOf({ sub, tid, name, scope, team, operator, exp }: Claims): Principal {
  return {
    userId: sub,
    username: name,
    isOperator: operator === true,
    via: 'access-token',
    credentialId: tid,
    scopes: scope.split(' ') as unknown as Scopes,
    ...(team !== undefined && { teamId: team }),
    expiresAt: new Date(exp * 1_000)
  }
}

export interface Jwts {
  sign(claims: Claims): Promise<string>
  /**
   * Returns the claims of an unexpired token that one of our keys signed for this issuer, otherwise null. The header
   * must have exactly the three fields we write; its only influence is the choice among our keys.
   */
  verify(token: string, now: Date): Promise<Claims | null>
}

export function jwtsOf(jose: typeof import('jose'), keys: SigningKeys, issuer: string): Jwts {
  const expected = { issuer, audience: issuer, algorithms: [ALGORITHM], typ: TYPE }
  const headerOf = (kid: string) => ({ alg: ALGORITHM, typ: TYPE, kid })
  const headerFields = Object.keys(headerOf('')).length
  const keyOf = ({ kid = '' }: JWTHeaderParameters) => {
    const key = keys.verifying(kid)
    if (key === undefined) throw new jose.errors.JWKSNoMatchingKey()
    return key
  }
  return {
    sign(claims) {
      const { id, key } = keys.current()
      return new jose.SignJWT({ ...claims }).setProtectedHeader(headerOf(id)).sign(key)
    },

    async verify(token, currentDate) {
      try {
        const { payload, protectedHeader } = await jose.jwtVerify(token, keyOf, { ...expected, currentDate })
        const isOurs = Object.keys(protectedHeader).length === headerFields && isClaims.Check(payload)
        return isOurs ? (payload as Claims) : null
      } catch (error) {
        if (error instanceof jose.errors.JOSEError) return null
        throw error
      }
    }
  }
}
