import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/operations.ts'
import { operationsPage } from '../../views/admin/operations.ts'
import { cached } from '../lib/cached.ts'
import { sendPage, wantsPage } from '../lib/page.ts'
import { operatorLists } from '../lib/policy.ts'

type Window = keyof typeof schemas.OPERATIONS_WINDOWS

/** The state of the server, for operators. */
const operations: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const report = cached(app, 'operations', window =>
    app.operations.report(schemas.OPERATIONS_WINDOWS[window as Window])
  )

  app.get('/operations', {
    schema: schemas.getOperations,
    config: { ...operatorLists, slo: 'search' },
    handler: async (request, reply) => {
      const { window = '1h' } = request.query
      const found = await report(window)
      return wantsPage(request, reply) ? sendPage(app, request, reply, operationsPage(found, window)) : found
    }
  })

  done()
}

export default operations
