import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../schemas/admin.ts'
import { listAudit } from '../src/domain/audit.ts'
import { parseInstant } from '../src/domain/instant.ts'
import { platformStats } from '../src/domain/stats.ts'
import { cached } from './lib/cached.ts'

/** Operators work on while the platform is closed. */
const operators = {
  access: 'operator',
  scope: 'admin',
  rateClass: 'general',
  priority: 'operator',
  maintenance: false
} as const

const STATS = { ttl: 15_000 }

const admin: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const stats = cached(app, 'admin_stats', STATS, () => platformStats(app.db))

  app.get('/stats', {
    schema: schemas.getStats,
    config: { ...operators, slo: 'detail' },
    handler: () => stats()
  })

  app.get('/audit', {
    schema: schemas.listAudit,
    config: { ...operators, slo: 'search' },
    handler: request => {
      const { limit, cursor, since, until, ...filters } = request.query
      const period = {
        ...(since !== undefined && { since: parseInstant('since', since) }),
        ...(until !== undefined && { until: parseInstant('until', until) })
      }
      return listAudit(app.db, { ...filters, ...period }, { limit, cursor })
    }
  })

  done()
}

export default admin
