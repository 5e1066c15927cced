import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/admin.ts'
import { parseInstant } from '../../src/domain/base/instant.ts'
import { listErrors } from '../../src/domain/platform/error-events.ts'
import { errorsPage } from '../../views/admin/lists.ts'
import { dropEmpty, sendPage, wantsPage } from '../lib/page.ts'
import { operatorLists } from '../lib/policy.ts'

/** Server errors, for operators. */
const errorRoutes: FastifyPluginCallbackTypebox = (app, _options, done) => {
  app.get('/errors', {
    schema: schemas.listErrors,
    config: { ...operatorLists, slo: 'list' },
    preValidation: dropEmpty,
    handler: async (request, reply) => {
      const { limit, cursor, since, until, done: _done, ...filters } = request.query
      const range = {
        ...(since !== undefined && { since: parseInstant('since', since) }),
        ...(until !== undefined && { until: parseInstant('until', until) })
      }
      const found = await listErrors(app.db, { ...filters, ...range }, { limit, cursor })
      if (!wantsPage(request, reply)) return found
      return sendPage(app, request, reply, errorsPage({ ...found, query: request.query }))
    }
  })

  done()
}

export default errorRoutes
