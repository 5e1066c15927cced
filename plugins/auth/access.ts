import type { FastifyRequest } from 'fastify'
import { type AppError, errors } from '../lib/errors.ts'
import type { Principal, Scope } from '../lib/principals.ts'
import { insufficientScope, staleSignIn } from './bearer.ts'

export const ACCESS = ['public', 'authenticated', 'operator', 'member', 'admin', 'owner', 'metrics'] as const
/** Who may call a route. */
export type Access = (typeof ACCESS)[number]

const SCOPE_RANK: Readonly<Record<Scope, number>> = { read: 0, deploy: 1, admin: 2 }

interface AccessPolicy {
  access?: Access
  scope?: Scope
  teamTokens?: true
  stepUp?: true
}

/** Access levels of routes that act on a team; their handlers know which one. */
const IN_A_TEAM: readonly (Access | undefined)[] = ['member', 'admin', 'owner']

/**
 * Returns what an authenticated caller lacks for a route, if anything: the metric's reason label and the error.
 *
 * @param stepUpAge seconds since sign-in during which a session may call `stepUp` routes
 */
export function accessRefusal(
  request: FastifyRequest,
  principal: Principal,
  policy: AccessPolicy,
  stepUpAge: number
): [reason: string, error: AppError] | undefined {
  if (policy.access === 'operator' && !principal.isOperator) return ['operator', errors.forbidden('For operators only')]
  const scope = neededScope(request, policy)
  if (!includesScope(principal.scopes, scope)) return ['scope', insufficientScope(scope)]
  if (principal.teamId !== undefined && policy.teamTokens !== true && !IN_A_TEAM.includes(policy.access))
    return ['team', errors.forbidden('This token is limited to one team')]
  if (policy.stepUp === true && isOlder(principal.signedInAt, stepUpAge)) return ['stale', staleSignIn(stepUpAge)]
}

function isOlder(at: Date | undefined, seconds: number): boolean {
  return at !== undefined && Date.now() - at.getTime() > seconds * 1_000
}

/** `admin` includes `deploy`, which includes `read`. */
function includesScope(held: readonly Scope[], needed: Scope): boolean {
  return held.some(scope => SCOPE_RANK[scope] >= SCOPE_RANK[needed])
}

/** The scope that a route requires. */
function neededScope(request: FastifyRequest, { access, scope }: AccessPolicy): Scope {
  if (scope !== undefined) return scope
  const isSafe = request.method === 'GET' || request.method === 'HEAD' || request.method === 'OPTIONS'
  return isSafe && access !== 'operator' ? 'read' : 'admin'
}

/** @throws Error that fails the boot if a route's policy is missing or misspelled */
export function checkPolicy(route: string, { access, scope }: AccessPolicy, isRequired: boolean): void {
  if (access === undefined && isRequired)
    throw new Error(`rhone-auth: ${route} has no access policy; set config.access`)
  if (access !== undefined && !ACCESS.includes(access))
    throw new Error(`rhone-auth: ${route}: config.access "${access}" is not one of ${ACCESS.join(', ')}`)
  if (scope !== undefined && !Object.hasOwn(SCOPE_RANK, scope))
    throw new Error(`rhone-auth: ${route}: config.scope "${scope}" is not one of ${Object.keys(SCOPE_RANK).join(', ')}`)
}
