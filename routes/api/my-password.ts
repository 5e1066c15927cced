import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/sign-in.ts'
import type { PasswordRoutesOptions } from '../auth/passwords.ts'
import { changes } from '../lib/change.ts'
import { accountAudit, passwordChange } from '../lib/me.ts'
import { writes } from '../lib/policy.ts'

const myPassword: FastifyPluginCallbackTypebox<PasswordRoutesOptions> = (app, options, done) => {
  const change = changes(app)
  const changePassword = passwordChange(app, options)

  app.post('/me/password', {
    schema: schemas.changePassword,
    config: { ...writes, access: 'authenticated', rateClass: 'strict', audit: accountAudit.changePassword },
    handler: async (request, reply) => change(request, reply, await changePassword(request, reply, request.body))
  })

  done()
}

export default myPassword
