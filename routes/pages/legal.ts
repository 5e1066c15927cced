import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/account-pages.ts'
import { GRACE_DAYS } from '../../src/domain/privacy/leaving.ts'
import { RETENTION_DAYS } from '../../src/domain/privacy/retention.ts'
import { privacyPage, termsPage } from '../../views/legal.ts'
import { sendSolo } from '../lib/page.ts'
import { pages } from '../lib/policy.ts'

/** The terms that apply to every account, public and printable. */
const legal: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const open = { ...pages, access: 'public', maintenance: false } as const

  app.get('/terms', {
    schema: schemas.termsPage,
    config: open,
    handler: async (request, reply) => sendSolo(app, request, reply, termsPage())
  })

  app.get('/privacy', {
    schema: schemas.privacyPage,
    config: open,
    handler: async (request, reply) =>
      sendSolo(app, request, reply, privacyPage({ ...RETENTION_DAYS, grace: GRACE_DAYS }))
  })

  done()
}

export default legal
