import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { AppError, errors } from '../../plugins/lib/errors.ts'
import * as schemas from '../../schemas/sign-in.ts'
import { takeGuess } from '../../src/domain/accounts/guessing.ts'
import { findAccount, isResetCode, normalizeLogin, setPassword } from '../../src/domain/accounts/local-accounts.ts'
import type { Passwords } from '../../src/domain/accounts/passwords.ts'
import { resetPage, signInPage } from '../../views/sign-in.ts'
import { safeNext } from '../lib/next.ts'
import { sendSolo } from '../lib/page.ts'
import { signIn, signingIn } from '../lib/sign-in.ts'

export interface PasswordRoutesOptions {
  /** Null: this server accepts no passwords. */
  readonly passwords: Passwords | null
}

const WRONG = 'The name or the password is wrong.'
const WRONG_CODE = 'The name or the code is wrong, or the code has expired.'

const passwordRoutes: FastifyPluginCallbackTypebox<PasswordRoutesOptions> = (app, options, done) => {
  function passwordsOf(): Passwords {
    if (options.passwords === null) throw errors.notConfigured('Signing in with a password')
    return options.passwords
  }

  app.post('/auth/password', {
    schema: schemas.signInWithPassword,
    config: { ...signingIn, slo: 'write', csrf: true, audit: { type: 'auth', action: 'login', resource: 'session' } },
    handler: async (request, reply) => {
      const passwords = passwordsOf()
      const { login, password, next } = request.body
      const form = { github: app.oauth.isConfigured, passwords: true, next: safeNext(next), login }
      const again = (problem: string) => sendSolo(app, request, reply, signInPage({ ...form, problem }))

      return retrying(reply, again, async () => {
        const right = await takeGuess(app.db, normalizeLogin(login), addressOf(request))
        const account = await findAccount(app.db, login)
        if (account !== undefined) app.audit?.about(request, { resourceName: account.login })
        const isRight = await passwords.verify(password, account?.passwordHash, addressOf(request))
        if (!isRight || account === undefined) throw new AppError('UNAUTHORIZED', { message: WRONG })
        await right()
        await signIn(app, request, reply, 'password', async () => ({ user: account.user, newTeam: null }))
        return reply.redirect(form.next, 303)
      })
    }
  })

  app.get('/auth/reset', {
    schema: schemas.getReset,
    config: signingIn,
    handler: async (request, reply) => {
      passwordsOf()
      return sendSolo(app, request, reply, resetPage({}))
    }
  })

  app.post('/auth/reset', {
    schema: schemas.resetPassword,
    config: {
      ...signingIn,
      slo: 'write',
      rateClass: 'strict',
      csrf: true,
      audit: { type: 'auth', action: 'reset', resource: 'password' }
    },
    handler: async (request, reply) => {
      const passwords = passwordsOf()
      const { login, code, password } = request.body
      const again = (problem: string) => sendSolo(app, request, reply, resetPage({ login, problem }))

      return retrying(reply, again, async () => {
        await passwords.check('password', password, [login])
        const right = await takeGuess(app.db, normalizeLogin(login), addressOf(request))
        // Checked before the expensive hash, which must not be triggered without a valid code.
        if (!isResetCode(await findAccount(app.db, login), code))
          throw new AppError('UNAUTHORIZED', { message: WRONG_CODE })
        const hash = await passwords.hash(password, addressOf(request))
        await signIn(app, request, reply, 'password', async tx => {
          const account = await findAccount(tx, login)
          if (!isResetCode(account, code)) throw new AppError('UNAUTHORIZED', { message: WRONG_CODE })
          await setPassword(tx, account!.user.id, hash)
          return { user: account!.user, newTeam: null }
        })
        await right()
        return reply.redirect(safeNext(undefined), 303)
      })
    }
  })

  done()
}

/** Shows the form again, with an error message. */
async function retrying(
  reply: FastifyReply,
  again: (problem: string) => FastifyReply,
  work: () => Promise<FastifyReply>
): Promise<FastifyReply> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof AppError) || error.statusCode >= 500) throw error
    reply.code(error.statusCode).headers(error.headers ?? {})
    return again([error.message, error.detail].filter(Boolean).join(': '))
  }
}

function addressOf(request: FastifyRequest): string {
  return request.clientIp?.bucket ?? request.ip
}

export default passwordRoutes
