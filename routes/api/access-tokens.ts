import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { errors } from '../../plugins/lib/errors.ts'
import * as schemas from '../../schemas/access-tokens.ts'
import { narrowScopes } from '../../src/domain/accounts/tokens.ts'
import { callerOf } from '../lib/access.ts'
import { changes } from '../lib/change.ts'
import { writes } from '../lib/policy.ts'

const accessTokens: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const change = changes(app)

  app.post('/auth/token', {
    schema: schemas.mintAccessToken,
    config: {
      ...writes,
      access: 'authenticated',
      scope: 'read',
      teamTokens: true,
      rateClass: 'strict',
      audit: { type: 'auth', action: 'mint', resource: 'token' }
    },
    // Without a body, the request asks for all scopes of the API token.
    preValidation(request, _reply, next) {
      request.body ??= {}
      next()
    },
    handler: (request, reply) =>
      change(request, reply, async () => {
        const caller = callerOf(request)
        // Otherwise a session or an access token could extend its own lifetime.
        if (caller.via !== 'token') throw errors.forbidden('An access token can only be created with an API token')
        const scopes = [...narrowScopes(caller.scopes, request.body.scopes)]
        const { accessToken, expiresAt } = await app.accessTokens.mint(caller, scopes)
        return {
          status: 201,
          body: { tokenType: 'Bearer', scopes, expiresAt },
          shownOnce: { accessToken },
          audit: { resourceId: caller.credentialId, details: { scopes, expiresAt } }
        }
      })
  })

  done()
}

export default accessTokens
