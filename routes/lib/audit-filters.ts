import type { AuditFilters } from '../../src/domain/audit/events.ts'
import { parseInstant } from '../../src/domain/base/instant.ts'

type Query = Omit<AuditFilters, 'since' | 'until'> & { since?: string; until?: string }

/** What the query of an audit route asks for; instants are checked here, for some that have the form of one are none. */
export function auditFilters({ since, until, ...filters }: Query): AuditFilters {
  return {
    ...filters,
    ...(since !== undefined && { since: parseInstant('since', since) }),
    ...(until !== undefined && { until: parseInstant('until', until) })
  }
}
