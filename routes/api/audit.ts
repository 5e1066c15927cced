import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/audit.ts'
import { listAudit } from '../../src/domain/audit/events.ts'
import { EXPORT_FORMATS, exportAudit } from '../../src/domain/audit/export.ts'
import { PERMISSIONS } from '../../src/domain/teams/access.ts'
import { auditPage } from '../../views/admin/lists.ts'
import { teamOf } from '../lib/access.ts'
import { auditFilters } from '../lib/audit-filters.ts'
import { dropEmpty, sendPage, wantsPage } from '../lib/page.ts'
import { operatorLists, operators, reads } from '../lib/policy.ts'
import { sendText } from '../lib/stream.ts'

const exported = { type: 'admin', action: 'export', resource: 'audit' } as const

/** The audit log of one team, for its admins. */
export const teamAudit: FastifyPluginCallbackTypebox = (app, _options, done) => {
  app.get('/teams/:team/audit', {
    schema: schemas.listTeamAudit,
    config: { ...reads, access: PERMISSIONS.viewAudit, slo: 'search' },
    handler: async request => {
      const { id } = await teamOf(app, app.postgres.reads, request, request.params.team)
      const { limit, cursor, ...query } = request.query
      return listAudit(app.postgres.reads, { ...auditFilters(query), teamId: id }, { limit, cursor })
    }
  })

  done()
}

/** The audit log of the whole platform, for operators. */
export const platformAudit: FastifyPluginCallbackTypebox = (app, _options, done) => {
  app.get('/audit', {
    schema: schemas.listAudit,
    config: { ...operatorLists, slo: 'search' },
    preValidation: dropEmpty,
    handler: async (request, reply) => {
      const { limit, cursor, done: _done, ...query } = request.query
      const found = await listAudit(app.postgres.reads, auditFilters(query), { limit, cursor })
      if (!wantsPage(request, reply)) return found
      return sendPage(app, request, reply, auditPage({ ...found, query: request.query }))
    }
  })

  app.get('/audit/export', {
    schema: schemas.exportAudit,
    config: { ...operators, slo: 'stream', priority: 'bulk', audit: exported },
    handler: async (request, reply) => {
      const { format = 'ndjson', since = null, until = null, ...filters } = request.query
      const details = { format, from: since, to: until, filters: Object.keys(filters) }
      const asked = auditFilters(request.query)
      await app.audit?.record(null, request, { ...exported, details })
      return sendText(reply, EXPORT_FORMATS[format], exportAudit(app.db, asked, format))
    }
  })

  done()
}
