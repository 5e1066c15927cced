import type { FastifyRequest } from 'fastify'
import type { Scope } from '../../drizzle/schema.ts'

export const ACCESS = ['public', 'authenticated', 'operator', 'member', 'admin', 'owner', 'metrics'] as const
/** Who may call a route. */
export type Access = (typeof ACCESS)[number]

const SCOPE_RANK: Readonly<Record<Scope, number>> = { read: 0, deploy: 1, admin: 2 }

interface AccessPolicy {
  access?: Access
  scope?: Scope
}

/** `admin` includes `deploy`, which includes `read`. */
export function includesScope(held: readonly Scope[], needed: Scope): boolean {
  return held.some(scope => SCOPE_RANK[scope] >= SCOPE_RANK[needed])
}

/** What a route's policy asks of a token. */
export function neededScope(request: FastifyRequest, { access, scope }: AccessPolicy): Scope {
  if (scope !== undefined) return scope
  const isSafe = request.method === 'GET' || request.method === 'HEAD' || request.method === 'OPTIONS'
  return isSafe && access !== 'operator' ? 'read' : 'admin'
}

/** @throws Error that fails the boot, on a route whose policy is missing or mistyped */
export function checkPolicy(route: string, { access, scope }: AccessPolicy, isRequired: boolean): void {
  if (access === undefined && isRequired)
    throw new Error(`rhone-auth: ${route} does not say who may call it; set config.access`)
  if (access !== undefined && !ACCESS.includes(access))
    throw new Error(`rhone-auth: ${route}: config.access "${access}" is none of ${ACCESS.join(', ')}`)
  if (scope !== undefined && !Object.hasOwn(SCOPE_RANK, scope))
    throw new Error(`rhone-auth: ${route}: config.scope "${scope}" is none of ${Object.keys(SCOPE_RANK).join(', ')}`)
}
