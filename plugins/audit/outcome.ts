import type { FastifyRequest } from 'fastify'
import type { AuditOutcome } from './row.ts'

/** Floods are not recorded: too many requests, and what a busy or closed server turns away. */
export function outcomeOf(status: number): AuditOutcome | undefined {
  if (status < 400 || status === 429 || status === 503) return undefined
  // What belongs to another team is not found, so that a 404 may well be a refusal.
  return status === 401 || status === 403 || status === 404 ? 'denied' : 'failure'
}

/** The resource that a refused request was about; if nobody has found it, what the URL calls it. */
export function resourceOf(request: FastifyRequest, resource: string): string | null | undefined {
  if (request.auditSubject?.resourceId !== undefined) return request.auditSubject.resourceId
  const params = request.params as Readonly<Record<string, string | undefined>> | null
  return params?.[resource] ?? params?.id
}
