import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { pageNonce } from '../../plugins/lib/notice-page.ts'
import * as schemas from '../../schemas/status.ts'
import { statusPage, statusView } from '../../views/status.ts'
import { sendSolo } from '../lib/page.ts'

/**
 * Asked for most when the rest does not work, so nothing refuses it but the limit for floods: no shedding, no
 * maintenance, no start that is not complete.
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

/** How the service is, for its users. */
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
