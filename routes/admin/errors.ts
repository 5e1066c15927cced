import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/admin.ts'
import { parseInstant } from '../../src/domain/base/instant.ts'
import { listErrors } from '../../src/domain/platform/error-events.ts'
import { operators } from '../lib/policy.ts'

/** Server errors, for operators. */
const errorRoutes: FastifyPluginCallbackTypebox = (app, _options, done) => {
  app.get('/errors', {
    schema: schemas.listErrors,
    config: { ...operators, slo: 'list' },
    handler: request => {
      const { limit, cursor, since, until, ...filters } = request.query
      const range = {
        ...(since !== undefined && { since: parseInstant('since', since) }),
        ...(until !== undefined && { until: parseInstant('until', until) })
      }
      return listErrors(app.db, { ...filters, ...range }, { limit, cursor })
    }
  })

  done()
}

export default errorRoutes
