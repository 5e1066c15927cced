import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/platform.ts'
import { listRegions, pageOfRegions } from '../../src/domain/apps/regions.ts'
import { cached } from '../lib/cached.ts'
import { reads } from '../lib/policy.ts'

const PONG = { pong: true } as const

const platform: FastifyPluginCallbackTypebox = (app, _options, done) => {
  app.get('/ping', {
    schema: schemas.ping,
    config: { ...reads, access: 'public', slo: 'detail' },
    handler: () => PONG
  })

  // Regions are stored in the database, because they change; without a database there are none to list.
  if (app.hasDecorator('db')) {
    const regions = cached(app, 'regions', () => listRegions(app.db))
    app.get('/regions', {
      schema: schemas.listRegions,
      config: { ...reads, access: 'public', slo: 'list' },
      handler: async request => pageOfRegions(await regions('all'), request.query)
    })
  }

  done()
}

export default platform
