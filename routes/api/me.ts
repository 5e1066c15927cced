import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/me.ts'
import { listSessions } from '../../src/domain/accounts/sessions.ts'
import { listTokens, narrowScopes } from '../../src/domain/accounts/tokens.ts'
import { findUser } from '../../src/domain/accounts/users.ts'
import { callerOf } from '../lib/access.ts'
import { cached } from '../lib/cached.ts'
import { changes } from '../lib/change.ts'
import { accountActions, accountAudit } from '../lib/me.ts'
import { reads, writes } from '../lib/policy.ts'

const me: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const change = changes(app)
  const actions = accountActions(app)
  const profile = cached(app, 'profiles', id => findUser(app.db, id))

  app.get('/me', {
    schema: schemas.getMe,
    config: { ...reads, access: 'authenticated', teamTokens: true, slo: 'detail' },
    handler: request => profile(callerOf(request).userId)
  })

  app.get('/me/tokens', {
    schema: schemas.listTokens,
    config: { ...reads, access: 'authenticated', slo: 'list' },
    handler: request => listTokens(app.db, callerOf(request).userId, request.query)
  })

  // Requires the scope `admin`, from `writes`, which includes all others: no token can create a stronger one.
  app.post('/me/tokens', {
    schema: schemas.createToken,
    config: {
      ...writes,
      access: 'authenticated',
      rateClass: 'strict',
      audit: accountAudit.createToken,
      stepUp: true
    },
    handler: (request, reply) => change(request, reply, tx => actions.createToken(tx, request, request.body))
  })

  app.delete('/me/tokens/:id', {
    schema: schemas.revokeToken,
    config: { ...writes, access: 'authenticated', scope: 'read', audit: accountAudit.revokeToken },
    handler: (request, reply) => {
      const { id } = request.params
      const { credentialId, scopes } = callerOf(request)
      // Any token may revoke itself, as when its owner logs out.
      if (id.toLowerCase() !== credentialId) narrowScopes(scopes, ['admin'])
      return change(request, reply, tx => actions.revokeToken(tx, request, id))
    }
  })

  app.get('/me/sessions', {
    schema: schemas.listSessions,
    config: { ...reads, access: 'authenticated', slo: 'list' },
    handler: async request => {
      const { userId, credentialId } = callerOf(request)
      const { items, nextCursor } = await listSessions(app.db, userId, request.query)
      return { items: items.map(item => ({ ...item, current: item.id === credentialId })), nextCursor }
    }
  })

  app.delete('/me/sessions/:id', {
    schema: schemas.revokeSession,
    config: { ...writes, access: 'authenticated', audit: accountAudit.revokeSession },
    handler: (request, reply) => change(request, reply, tx => actions.revokeSession(tx, request, request.params.id))
  })

  app.delete('/me/sessions', {
    schema: schemas.revokeSessions,
    config: { ...writes, access: 'authenticated', audit: accountAudit.revokeSession },
    handler: (request, reply) =>
      change(request, reply, tx => actions.revokeSessions(tx, request, request.query.keepCurrent === true))
  })

  done()
}

export default me
