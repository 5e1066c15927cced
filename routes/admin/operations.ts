import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/operations.ts'
import { cached } from '../lib/cached.ts'
import { operators } from '../lib/policy.ts'

type Window = keyof typeof schemas.OPERATIONS_WINDOWS

/** As long as nothing has been sampled since, there is nothing new to say; and Prometheus is asked forty questions. */
const TTL = 5_000

/** How the server is doing, for operators. */
const operations: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const settings = { ttl: TTL, max: Object.keys(schemas.OPERATIONS_WINDOWS).length }
  const report = cached(app, 'operations', settings, window =>
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
