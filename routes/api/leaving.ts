import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/me.ts'
import { restoreAccount } from '../../src/domain/privacy/leaving.ts'
import { exportPersonalData } from '../../src/domain/privacy/personal-data.ts'
import { callerOf } from '../lib/access.ts'
import { changes } from '../lib/change.ts'
import { accountActions, accountAudit } from '../lib/me.ts'
import { reads, writes } from '../lib/policy.ts'
import { sendText } from '../lib/stream.ts'

const restoring = { type: 'auth', action: 'restore', resource: 'user' } as const

/** Account deletion and data export. */
export const leaving: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const change = changes(app)
  const { deleteAccount } = accountActions(app)

  app.delete('/me', {
    schema: schemas.deleteMe,
    config: {
      ...writes,
      access: 'authenticated',
      rateClass: 'strict',
      stepUp: true,
      audit: accountAudit.deleteAccount
    },
    handler: (request, reply) => change(request, reply, tx => deleteAccount(tx, request))
  })

  // The scope `admin`: a token for reading apps must not give access to personal data.
  app.get('/me/export', {
    schema: schemas.exportMe,
    config: { ...reads, access: 'authenticated', scope: 'admin', rateClass: 'strict', priority: 'bulk', slo: 'stream' },
    handler: (request, reply) => {
      reply.header('content-disposition', 'attachment; filename="rhone-export.json"')
      const parts = exportPersonalData(app.db, callerOf(request).userId)
      return sendText(reply, 'application/json; charset=utf-8', parts)
    }
  })

  done()
}

/** Undoes a deletion. A deleted account cannot sign in, so its owner sends the code. */
export const returning: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const change = changes(app)

  app.post('/me/restore', {
    schema: schemas.restoreMe,
    config: { ...writes, access: 'public', rateClass: 'strict', audit: restoring },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const restored = await restoreAccount(tx, request.body.code)
        return {
          status: 200,
          body: restored,
          audit: { resourceId: restored.id, resourceName: restored.username },
          committed: () => app.auth.forget(restored.id)
        }
      })
  })

  done()
}
