import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/platform.ts'
import { listRegions, pageOfRegions } from '../../src/domain/apps/regions.ts'
import { cached } from '../lib/cached.ts'
import { reads } from '../lib/policy.ts'

/** A region that takes no more apps is known soon; when the database is away, the regions are still where they were. */
const REGIONS = { ttl: 10 * 60 * 1000, staleIfError: 24 * 60 * 60 * 1000, max: 1 }

const PONG = { pong: true } as const

const platform: FastifyPluginCallbackTypebox = (app, _options, done) => {
  app.get('/ping', {
    schema: schemas.ping,
    config: { ...reads, access: 'public', slo: 'detail' },
    handler: () => PONG
  })

  // The regions are data, because they come and go; without a database there is none to list.
  if (app.hasDecorator('db')) {
    const regions = cached(app, 'regions', REGIONS, () => listRegions(app.db))
    app.get('/regions', {
      schema: schemas.listRegions,
      config: { ...reads, access: 'public', slo: 'list' },
      handler: async request => pageOfRegions(await regions('all'), request.query)
    })
  }

  done()
}

export default platform
