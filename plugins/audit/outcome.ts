import type { FastifyRequest } from 'fastify'
import type { AuditOutcome } from './row.ts'

/** Refusals by a rate limit, load shedding or maintenance are not recorded: they come in floods. */
export function outcomeOf(status: number): AuditOutcome | undefined {
  if (status < 400 || status === 429 || status === 503) return undefined
  // Other teams' resources are answered with 404, so a 404 may be a refusal.
  return status === 401 || status === 403 || status === 404 ? 'denied' : 'failure'
}

/** The resource of a refused request; its name from the URL if it was not loaded. */
export function resourceOf(request: FastifyRequest, resource: string): string | null | undefined {
  if (request.auditSubject?.resourceId !== undefined) return request.auditSubject.resourceId
  const params = request.params as Readonly<Record<string, string | undefined>> | null
  return params?.[resource] ?? params?.id
}
