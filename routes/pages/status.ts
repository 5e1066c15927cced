import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { pageNonce } from '../../plugins/lib/notice-page.ts'
import * as schemas from '../../schemas/status.ts'
import { statusPage, statusView } from '../../views/status.ts'
import { sendSolo } from '../lib/page.ts'

/**
 * Needed most when everything else fails, so only the flood limit refuses it: no shedding, no maintenance, no
 * incomplete startup.
 */
const open = {
  access: 'public',
  scope: 'read',
  rateClass: 'general',
  priority: 'probe',
  maintenance: false,
  slo: 'detail',
  cors: false
} as const

/** The state of the service, for its users. */
const status: FastifyPluginCallbackTypebox = (app, _options, done) => {
  app.get('/status.json', {
    schema: schemas.getStatus,
    config: open,
    handler: async () => app.status.report()
  })

  app.get('/status', {
    schema: schemas.getStatusPage,
    config: { ...open, page: true },
    handler: async (request, reply) => {
      const report = app.status.report()
      if (app.hasDecorator('assets')) return sendSolo(app, request, reply, statusView(report))
      return reply.type('text/html; charset=utf-8').send(statusPage(report, pageNonce(app, reply)))
    }
  })

  done()
}

export default status
