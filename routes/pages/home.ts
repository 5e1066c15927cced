import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/pages.ts'
import { designPage } from '../../views/design.ts'
import { homePage } from '../../views/home.ts'
import { sendSolo } from '../lib/page.ts'
import { pages } from '../lib/policy.ts'

export interface HomeOptions {
  /** Whether any way to sign in is configured. */
  readonly canSignIn: boolean
  /** Whether to show the parts of pages to their developers. */
  readonly showsDesign: boolean
}

/** The pages for visitors. */
const home: FastifyPluginCallbackTypebox<HomeOptions> = (app, { canSignIn, showsDesign }, done) => {
  app.get('/', {
    schema: schemas.home,
    config: { ...pages, access: 'public' },
    handler: async (request, reply) => {
      const caller = app.hasDecorator('auth') ? await app.auth.identify(request) : null
      if (caller?.via === 'session') return reply.redirect('/dashboard', 303)
      return sendSolo(app, request, reply, homePage({ canSignIn }))
    }
  })

  if (showsDesign)
    app.get('/design', {
      schema: schemas.design,
      config: { ...pages, access: 'public' },
      handler: async (request, reply) => sendSolo(app, request, reply, designPage())
    })

  done()
}

export default home
