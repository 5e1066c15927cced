import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { errors } from '../../plugins/lib/errors.ts'
import * as schemas from '../../schemas/jobs.ts'
import { cutPage, DEFAULT_LIMIT, parseCursor } from '../../src/domain/base/page.ts'
import { jobsPage } from '../../views/admin/lists.ts'
import { changes } from '../lib/change.ts'
import { dropEmpty, sendPage, wantsPage } from '../lib/page.ts'
import { operatorLists, operators } from '../lib/policy.ts'

/** Background jobs, for operators. */
const jobs: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const change = changes(app)

  app.get('/jobs', {
    schema: schemas.listJobs,
    config: { ...operatorLists, slo: 'search' },
    preValidation: dropEmpty,
    handler: async (request, reply) => {
      const { limit = DEFAULT_LIMIT, cursor, done: _done, ...filters } = request.query
      const found = await app.jobs.list(filters, limit + 1, parseCursor(cursor))
      const page = cutPage(found, limit, ({ position: { at, id } }) => `${at}.${id}`)
      if (!wantsPage(request, reply)) return page
      return sendPage(app, request, reply, jobsPage({ ...page, query: request.query }))
    }
  })

  app.post('/jobs/:id/retry', {
    schema: schemas.retryJob,
    config: { ...operators, slo: 'write', audit: { type: 'admin', action: 'retry', resource: 'job' } },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const { id } = request.params
        const queue = await app.jobs.retry(tx, id)
        if (queue === null) throw errors.notFound('Job')
        return { status: 202, body: { id, queue, state: 'retrying' }, audit: { resourceId: id } }
      })
  })

  done()
}

export default jobs
