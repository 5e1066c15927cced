import type { AuditFilters } from '../../src/domain/audit/events.ts'
import { parseInstant } from '../../src/domain/base/instant.ts'

type Query = Omit<AuditFilters, 'since' | 'until'> & { since?: string; until?: string }

/**
 * The filters in the query of an audit route. Instants are parsed here, because some match the format but are invalid.
 */
export function auditFilters({ since, until, ...filters }: Query): AuditFilters {
  return {
    ...filters,
    ...(since !== undefined && { since: parseInstant('since', since) }),
    ...(until !== undefined && { until: parseInstant('until', until) })
  }
}
