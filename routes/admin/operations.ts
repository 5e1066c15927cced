import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/operations.ts'
import { cached } from '../lib/cached.ts'
import { operators } from '../lib/policy.ts'

type Window = keyof typeof schemas.OPERATIONS_WINDOWS

/** How the server is doing, for operators. */
const operations: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const report = cached(app, 'operations', window =>
    app.operations.report(schemas.OPERATIONS_WINDOWS[window as Window])
  )

  app.get('/operations', {
    schema: schemas.getOperations,
    config: { ...operators, slo: 'search' },
    handler: request => report(request.query.window ?? '1h')
  })

  done()
}

export default operations
