import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { errors } from '../../plugins/lib/errors.ts'
import * as schemas from '../../schemas/sign-in.ts'
import { takeGuess } from '../../src/domain/accounts/guessing.ts'
import { findAccountOf, setPassword } from '../../src/domain/accounts/local-accounts.ts'
import type { PasswordRoutesOptions } from '../auth/passwords.ts'
import { callerOf } from '../lib/access.ts'
import { changes } from '../lib/change.ts'
import { writes } from '../lib/policy.ts'

const myPassword: FastifyPluginCallbackTypebox<PasswordRoutesOptions> = (app, { passwords }, done) => {
  const change = changes(app)

  app.post('/me/password', {
    schema: schemas.changePassword,
    config: {
      ...writes,
      access: 'authenticated',
      rateClass: 'strict',
      audit: { type: 'auth', action: 'change', resource: 'password' }
    },
    handler: async (request, reply) => {
      if (passwords === null) throw errors.notConfigured('Signing in with a password')
      const { userId, via } = callerOf(request)
      if (via !== 'session') throw errors.forbidden('A password is changed in a session, not by a token')
      const { currentPassword, newPassword } = request.body
      const account = await findAccountOf(app.db, userId)
      if (account === undefined) throw errors.conflict('You sign in without a password')

      await passwords.check('newPassword', newPassword, [account.login])
      const address = request.clientIp?.bucket ?? request.ip
      const right = await takeGuess(app.db, account.login, address)
      if (!(await passwords.verify(currentPassword, account.passwordHash, address)))
        throw errors.validation('currentPassword', 'is not right')
      await right()
      const hash = await passwords.hash(newPassword, address)

      return change(request, reply, async tx => {
        await setPassword(tx, userId, hash)
        const { cookie } = await app.session.begin(tx, request, account.user, 'password')
        const committed = () => {
          app.auth.forget(userId)
          reply.header('set-cookie', cookie)
        }
        return { status: 204, audit: { resourceId: userId, resourceName: account.login }, committed }
      })
    }
  })

  done()
}

export default myPassword
