import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { pageNonce } from '../../plugins/lib/notice-page.ts'
import * as schemas from '../../schemas/status.ts'
import { statusPage } from '../../views/status.ts'

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
    handler: async (_request, reply) =>
      reply.type('text/html; charset=utf-8').send(statusPage(app.status.report(), pageNonce(app, reply)))
  })

  done()
}

export default status
