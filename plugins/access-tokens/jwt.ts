import { randomUUID, sign, verify } from 'node:crypto'
import { type Static, Type } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import type { Principal } from '../lib/principals.ts'
import type { SigningKeys } from './keys.ts'

/** RFC 9068, as far as it concerns tokens that only their own issuer takes. */
const Claims = Type.Object(
  {
    iss: Type.String(),
    aud: Type.String(),
    sub: Type.String({ minLength: 1 }),
    jti: Type.String({ minLength: 1 }),
    iat: Type.Integer(),
    exp: Type.Integer(),
    /** The API token that it was minted from. */
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
const FORM = /^([\w-]{1,512})\.([\w-]{1,2048})\.([\w-]{86})$/
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

export function signJwt(claims: Claims, { current }: SigningKeys): string {
  const signed = `${encode({ alg: ALGORITHM, typ: TYPE, kid: current.id })}.${encode(claims)}`
  return `${signed}.${sign(null, Buffer.from(signed), current.key).toString('base64url')}`
}

/**
 * The claims of a token that one of our keys has signed for us and that has not ended; null for every other text. The
 * header chooses nothing but one of our keys: it has exactly the three fields that we write, so that there is no other
 * algorithm to be talked into, and no key to be brought along.
 */
export function verifyJwt(token: string, { verifying }: SigningKeys, issuer: string, now: number): Claims | null {
  const [, header = '', payload = '', signature = ''] = FORM.exec(token) ?? []
  const { alg, typ, kid, ...others } = decode(header)
  const key = typeof kid === 'string' ? verifying.get(kid) : undefined
  if (alg !== ALGORITHM || typ !== TYPE || key === undefined || Object.keys(others).length > 0) return null
  const signed = Buffer.from(`${header}.${payload}`)
  if (!verify(null, signed, key, Buffer.from(signature, 'base64url'))) return null

  const claims: unknown = decode(payload)
  if (!isClaims.Check(claims) || claims.iss !== issuer || claims.aud !== issuer) return null
  return claims.exp > now ? claims : null
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function decode(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(Buffer.from(text, 'base64url').toString('utf8'))
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}
