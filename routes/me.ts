import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../schemas/me.ts'
import { parseExpiry } from '../src/domain/instant.ts'
import { createToken, listTokens, revokeToken } from '../src/domain/tokens.ts'
import { findUser } from '../src/domain/users.ts'
import { callerOf } from './lib/access.ts'
import { cached } from './lib/cached.ts'
import { changes } from './lib/change.ts'
import { reads, writes } from './lib/policy.ts'

/** As old as what is remembered of a caller's token may be. */
const PROFILES = { ttl: 5_000, max: 10_000 }

const audited = (action: 'create' | 'revoke') => ({ type: 'auth', action, resource: 'token' }) as const

const me: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const change = changes(app)
  const profile = cached(app, 'profiles', PROFILES, id => findUser(app.db, id))

  app.get('/me', {
    schema: schemas.getMe,
    config: { ...reads, access: 'authenticated', slo: 'detail' },
    handler: request => profile(callerOf(request).userId)
  })

  app.get('/me/tokens', {
    schema: schemas.listTokens,
    config: { ...reads, access: 'authenticated', slo: 'list' },
    handler: request => listTokens(app.db, callerOf(request).userId, request.query)
  })

  // The scope `admin`, which `writes` asks for, includes all others: nobody can give a token more than they have.
  app.post('/me/tokens', {
    schema: schemas.createToken,
    config: { ...writes, access: 'authenticated', rateClass: 'strict', audit: audited('create') },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const { userId, expiresAt: ownEnd } = callerOf(request)
        const { name, scopes, expiresAt } = request.body
        const values = { userId, name: name.trim(), scopes, expiresAt: parseExpiry(expiresAt, ownEnd) }
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
    config: { ...writes, access: 'authenticated', audit: audited('revoke') },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const { id, name, prefix } = await revokeToken(tx, callerOf(request).userId, request.params.id)
        const audit = { resourceId: id, resourceName: name, details: { prefix } }
        return { status: 204, audit, committed: () => app.auth.forget(id) }
      })
  })

  done()
}

export default me
