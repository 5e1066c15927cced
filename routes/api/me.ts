import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/me.ts'
import { listSessions, revokeSession, revokeSessions } from '../../src/domain/accounts/sessions.ts'
import { createToken, listTokens, revokeToken } from '../../src/domain/accounts/tokens.ts'
import { findUser } from '../../src/domain/accounts/users.ts'
import { parseExpiry } from '../../src/domain/base/instant.ts'
import { callerOf, teamOf } from '../lib/access.ts'
import { cached } from '../lib/cached.ts'
import { changes } from '../lib/change.ts'
import { reads, writes } from '../lib/policy.ts'

const audited = (action: 'create' | 'revoke', resource: 'token' | 'session') =>
  ({ type: 'auth', action, resource }) as const

const me: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const change = changes(app)
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
      audit: audited('create', 'token'),
      stepUp: true
    },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const { userId, via, expiresAt: ownEnd } = callerOf(request)
        const { name, scopes, team, expiresAt } = request.body
        const teamId = team === undefined ? null : (await teamOf(app, tx, request, team)).id
        const end = parseExpiry(expiresAt, via === 'session' ? undefined : ownEnd)
        const values = { userId, name: name.trim(), scopes, teamId, expiresAt: end }
        const { token, ...row } = await createToken(tx, values)
        return {
          status: 201,
          body: row,
          shownOnce: { token },
          audit: { resourceId: row.id, resourceName: row.name, details: row }
        }
      })
  })

  app.delete('/me/tokens/:id', {
    schema: schemas.revokeToken,
    config: { ...writes, access: 'authenticated', audit: audited('revoke', 'token') },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const { id, name, prefix } = await revokeToken(tx, callerOf(request).userId, request.params.id)
        const audit = { resourceId: id, resourceName: name, details: { prefix } }
        return { status: 204, audit, committed: () => app.auth.forget(id) }
      })
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
    config: { ...writes, access: 'authenticated', audit: audited('revoke', 'session') },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const { id } = request.params
        await revokeSession(tx, callerOf(request).userId, id)
        return { status: 204, audit: { resourceId: id }, committed: () => app.auth.forget(id) }
      })
  })

  app.delete('/me/sessions', {
    schema: schemas.revokeSessions,
    config: { ...writes, access: 'authenticated', audit: audited('revoke', 'session') },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const { userId, credentialId } = callerOf(request)
        const revoked = await revokeSessions(tx, userId, request.query.keepCurrent ? credentialId : undefined)
        const committed = () => app.auth.forget(userId)
        return { status: 200, body: { revoked }, audit: { details: { count: revoked } }, committed }
      })
  })

  done()
}

export default me
